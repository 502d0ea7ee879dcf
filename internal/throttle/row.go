package throttle

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// maxEntries limits the number of entries in a row. After [prune], a rule without a pace never
// needs more entries, and a rule with a pace needs only the newest.
const maxEntries = 256

// prune returns the row without the entries that the rule no longer needs: those outside all its
// windows, and the oldest ones of more than maxEntries. If the window of the limit on accounts is
// the longest, prune keeps for it only the newest entry of each account.
func prune(now time.Time, row []entry, r rule) []entry {
	tries := r
	tries.accounts = limit{}
	newest := map[uint64]int{}
	for i, e := range row {
		newest[e.tag] = i
	}
	kept := make([]entry, 0, len(row)+1)
	for i, e := range row {
		age := now.Sub(e.at)
		if age < tries.keep() || age < r.keep() && newest[e.tag] == i {
			kept = append(kept, e)
		}
	}
	if over := len(kept) + 1 - maxEntries; over > 0 {
		kept = kept[over:]
	}
	return kept
}

// readRow returns the entries of a row, oldest first, and its version. A missing row is empty and
// has version 0.
func readRow(ctx context.Context, q db.Querier, key Key) ([]entry, int64, error) {
	return queryRow(ctx, q, key, selectRow)
}

// readForUpdate reads a row that is about to be written, and locks it. Without the lock,
// concurrent requests of users behind one address would keep failing the version check.
func readForUpdate(ctx context.Context, tx *db.Tx, key Key) ([]entry, int64, error) {
	return queryRow(ctx, tx, key, selectRow+` FOR NO KEY UPDATE`)
}

const selectRow = `SELECT times, version FROM ledger WHERE account_id = $1 AND bucket = $2 AND subject = $3`

func queryRow(ctx context.Context, q db.Querier, key Key, query string) ([]entry, int64, error) {
	var (
		times   []byte
		version int64
	)
	err := db.One(ctx, q, query,
		[]any{key.Account, string(key.Bucket), key.Subject}, &times, &version)
	if errors.Is(err, db.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	row, err := decode(times)
	if err != nil {
		return nil, 0, fmt.Errorf("ledger row %s of %s: %w", key.Bucket, key.Account, err)
	}
	return row, version, nil
}

// writeRow stores row if its version in the database is still the given one, and reports whether it
// did. It sets changed_at to the parameter now, the time of the newest entry. If now is zero,
// changed_at stays as it is.
func writeRow(ctx context.Context, tx *db.Tx, key Key, row []entry, version int64, now time.Time) (bool, error) {
	var (
		n   int64
		err error
	)
	switch {
	case version == 0:
		n, err = db.Exec(ctx, tx, `
			INSERT INTO ledger (account_id, bucket, subject, times, version, changed_at)
			VALUES ($1, $2, $3, $4, 1, $5) ON CONFLICT DO NOTHING`,
			key.Account, string(key.Bucket), key.Subject, encode(row), db.At{Time: now})
	default:
		n, err = db.Exec(ctx, tx, `
			UPDATE ledger SET times = $4, version = version + 1, changed_at = COALESCE($6, changed_at)
			WHERE account_id = $1 AND bucket = $2 AND subject = $3 AND version = $5`,
			key.Account, string(key.Bucket), key.Subject, encode(row), version, db.At{Time: now})
	}
	return n == 1, err
}

// hashTag returns a hash of an id. The hash is long enough to tell apart the tags of tries.
func hashTag(id string) uint64 {
	if id == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])
}

// entryBytes is the size of an encoded entry: id (4), Unix milliseconds (8), units (2), owned
// (1) and tag (8), big-endian.
const entryBytes = 23

func encode(row []entry) []byte {
	b := make([]byte, 0, len(row)*entryBytes)
	for _, e := range row {
		b = binary.BigEndian.AppendUint32(b, e.id)
		b = binary.BigEndian.AppendUint64(b, uint64(e.at.UnixMilli()))
		b = binary.BigEndian.AppendUint16(b, uint16(e.units))
		if e.owned {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = binary.BigEndian.AppendUint64(b, e.tag)
	}
	return b
}

func decode(b []byte) ([]entry, error) {
	if len(b)%entryBytes != 0 || len(b) > maxEntries*entryBytes {
		return nil, errors.New("times are not whole entries")
	}
	row := make([]entry, 0, len(b)/entryBytes+1)
	for ; len(b) > 0; b = b[entryBytes:] {
		if b[14] > 1 {
			return nil, errors.New("an entry has an unknown mark")
		}
		row = append(row, entry{
			id:    binary.BigEndian.Uint32(b),
			at:    time.UnixMilli(int64(binary.BigEndian.Uint64(b[4:]))).UTC(),
			units: int(binary.BigEndian.Uint16(b[12:])),
			owned: b[14] == 1,
			tag:   binary.BigEndian.Uint64(b[15:]),
		})
	}
	return row, nil
}
