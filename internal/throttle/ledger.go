package throttle

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

const (
	// reserveTries bounds how often a reservation is tried again after
	// another request changed the same row first.
	reserveTries = 8

	// maxEntries bounds a row. No rule allows more within its windows but the
	// paced ones, which look only at the newest.
	maxEntries = 256
)

// ErrBusy: too many requests changed the row at once, so nothing was tried.
var ErrBusy = errors.New("ledger row is contended")

// Key names a row of the ledger.
type Key struct {
	// Account is the account's id, never what was typed (R5); for names that
	// don't exist, what the caller derives from the name.
	Account string
	Bucket  Bucket
	// Subject is the device or address prefix where the bucket has one.
	Subject string
}

// Reservation is a try that was written down before it was made. If nobody
// gives it back, it counts as failed: so does a crash.
type Reservation struct {
	key Key
	id  uint32
}

// Ledger answers what may be tried. It keeps nothing in memory (R4).
type Ledger struct {
	db    *db.DB
	clock func() time.Time
}

// NewLedger returns a ledger in d.
func NewLedger(d *db.DB, clock func() time.Time) *Ledger { return &Ledger{d, clock} }

// Look answers whether units could be tried now, and changes nothing: it
// spares the hashing queue those that would be refused anyway.
func (l *Ledger) Look(ctx context.Context, key Key, units int) (Verdict, error) {
	row, _, err := read(ctx, l.db.Reader(), key)
	if err != nil {
		return Verdict{}, err
	}
	return decide(l.clock(), row, rules[key.Bucket], units), nil
}

// Reserve writes down a try of units and commits it, before anything is
// verified (R3). Only an answer of [Allow] comes with a reservation. An error
// means that nothing may be verified (F2).
func (l *Ledger) Reserve(ctx context.Context, key Key, units int) (Reservation, Verdict, error) {
	var id [4]byte
	rand.Read(id[:])
	reservation := Reservation{key: key, id: binary.BigEndian.Uint32(id[:])}
	rule := rules[key.Bucket]
	for range reserveTries {
		var (
			verdict Verdict
			written bool
		)
		err := l.db.Write(ctx, func(tx *db.Tx) error {
			row, version, err := read(ctx, tx, key)
			if err != nil {
				return err
			}
			now := l.clock()
			if verdict = decide(now, row, rule, units); verdict.Answer != Allow {
				return nil
			}
			if len(row) > 0 && row[len(row)-1].at.After(now) {
				now = row[len(row)-1].at
			}
			row = append(prune(now, row, rule), entry{reservation.id, now, units})
			written, err = write(ctx, tx, key, row, version, now)
			return err
		})
		if err != nil {
			return Reservation{}, Verdict{}, fmt.Errorf("reserve a try: %w", err)
		}
		if verdict.Answer != Allow || written {
			return reservation, verdict, nil
		}
	}
	return Reservation{}, Verdict{}, ErrBusy
}

// GiveBack takes a reservation out again, in tx: the try succeeded, or nothing
// was compared. It leaves every other entry as it is, so no success refills a
// bucket (R6).
func GiveBack(ctx context.Context, tx *db.Tx, r Reservation) error {
	for range reserveTries {
		row, version, err := read(ctx, tx, r.key)
		if err != nil {
			return fmt.Errorf("give a try back: %w", err)
		}
		left := row[:0:0]
		for _, e := range row {
			if e.id != r.id {
				left = append(left, e)
			}
		}
		if len(left) == len(row) {
			return nil
		}
		written, err := write(ctx, tx, r.key, left, version, time.Time{})
		if err != nil {
			return fmt.Errorf("give a try back: %w", err)
		}
		if written {
			return nil
		}
	}
	return ErrBusy
}

// GiveBack is the function of that name in a transaction of its own, for a
// try that ends without another change.
func (l *Ledger) GiveBack(ctx context.Context, r Reservation) error {
	return l.db.Write(ctx, func(tx *db.Tx) error { return GiveBack(ctx, tx, r) })
}

// Forget deletes the rows of an account that is being removed.
func Forget(ctx context.Context, tx *db.Tx, accountID string) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM ledger WHERE account_id = $1`, accountID)
	return err
}

// Sweep deletes rows in which nothing matters any more. Those of names that
// don't exist number at most 2¹⁶ for each bucket.
func Sweep(ctx context.Context, tx *db.Tx, now time.Time) error {
	for bucket, rule := range rules {
		if _, err := db.Exec(ctx, tx, `DELETE FROM ledger WHERE bucket = $1 AND changed_at <= $2`,
			string(bucket), db.At{Time: now.Add(-rule.keep())}); err != nil {
			return fmt.Errorf("sweep ledger: %w", err)
		}
	}
	return nil
}

// prune drops entries that no window of the rule reaches, and the oldest past
// what a row may hold.
func prune(now time.Time, row []entry, r rule) []entry {
	kept := make([]entry, 0, len(row)+1)
	for _, e := range row {
		if now.Sub(e.at) < r.keep() {
			kept = append(kept, e)
		}
	}
	if over := len(kept) + 1 - maxEntries; over > 0 {
		kept = kept[over:]
	}
	return kept
}

// read returns a row's entries, oldest first, and its version; a missing row
// is empty and has version 0.
func read(ctx context.Context, q db.Querier, key Key) ([]entry, int64, error) {
	var (
		times   []byte
		version int64
	)
	err := db.One(ctx, q, `SELECT times, version FROM ledger WHERE account_id = $1 AND bucket = $2 AND subject = $3`,
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

// write stores row if its version is still the one read, and reports whether
// it did. Changes keep changed_at at the newest entry's time; a zero now
// leaves it.
func write(ctx context.Context, tx *db.Tx, key Key, row []entry, version int64, now time.Time) (bool, error) {
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

// entryBytes: id (4), Unix milliseconds (8), units (2), big-endian.
const entryBytes = 14

func encode(row []entry) []byte {
	b := make([]byte, 0, len(row)*entryBytes)
	for _, e := range row {
		b = binary.BigEndian.AppendUint32(b, e.id)
		b = binary.BigEndian.AppendUint64(b, uint64(e.at.UnixMilli()))
		b = binary.BigEndian.AppendUint16(b, uint16(e.units))
	}
	return b
}

func decode(b []byte) ([]entry, error) {
	if len(b)%entryBytes != 0 || len(b) > maxEntries*entryBytes {
		return nil, errors.New("times are not whole entries")
	}
	row := make([]entry, 0, len(b)/entryBytes+1)
	for ; len(b) > 0; b = b[entryBytes:] {
		row = append(row, entry{
			id:    binary.BigEndian.Uint32(b),
			at:    time.UnixMilli(int64(binary.BigEndian.Uint64(b[4:]))).UTC(),
			units: int(binary.BigEndian.Uint16(b[12:])),
		})
	}
	return row, nil
}
