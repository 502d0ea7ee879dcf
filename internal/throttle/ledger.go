package throttle

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// reserveTries is how often a reservation is tried at most, if concurrent requests keep changing
// the same row.
const reserveTries = 8

// ErrBusy means that too many requests changed the row at once. The credential was not verified.
var ErrBusy = errors.New("ledger row is contended")

// Key identifies a row of the ledger.
type Key struct {
	// Account is the account's id, never what was typed (R5). If no account has the typed name,
	// the caller derives an id from the name. Account is empty for a prefix.
	Account string
	Bucket  Bucket
	// Subject is the known browser or the address prefix, if the bucket has one.
	Subject string
}

// Try describes a try at a credential or a limited change.
type Try struct {
	Key
	Units       int       // what the try costs; at least 1
	Tag         string    // what the try belongs to: an attempt's id or, for a prefix, the account's
	PasswordSet time.Time // for [TwoCodes]: when the password was set
}

// Reservation is a try that was written to one or several rows before its credential is verified.
// Unless the reservation is given back, the try counts as wrong, even after a crash.
type Reservation struct {
	rows []reservedRow
	id   uint32
}

// reservedRow has a row's entries before the reservation and its version after the reservation.
type reservedRow struct {
	key     Key
	before  []entry
	version int64
}

// Ledger decides what may be tried. Its counts are in the database (R4). It is safe for
// concurrent use.
type Ledger struct {
	db    *db.DB
	clock func() time.Time
	hot   atomic.Bool // whether the instance is hot; see [Ledger.Measure]
}

// NewLedger returns a ledger stored in d.
func NewLedger(d *db.DB, clock func() time.Time) *Ledger { return &Ledger{db: d, clock: clock} }

// errNoUnits means that a try would cost nothing, so that no limit would ever refuse it.
var errNoUnits = errors.New("a try must cost at least one unit")

// decideTry decides on one try from the entries of its row.
func (l *Ledger) decideTry(ctx context.Context, q db.Querier, now time.Time, row []entry, try Try) (Verdict, error) {
	if try.Units <= 0 {
		return Verdict{}, fmt.Errorf("bucket %s: %w", try.Bucket, errNoUnits)
	}
	hot := l.hot.Load()
	if !hot && try.Bucket == CodeUnknownDevice {
		var err error
		if hot, err = isRecentlyRestored(ctx, q, now); err != nil {
			return Verdict{}, err
		}
	}
	v := decide(now, row, rules[try.Bucket], question{
		units: try.Units, tag: hashTag(try.Tag), passwordSet: try.PasswordSet, instanceHot: hot,
	})
	v.Bucket = try.Bucket
	return v, nil
}

// Peek returns whether all of the tries would be allowed now, but doesn't reserve them. Callers use
// it to refuse a try before it enters the hashing queue.
func (l *Ledger) Peek(ctx context.Context, tries ...Try) (Verdict, error) {
	for _, try := range tries {
		row, _, err := readRow(ctx, l.db.Reader(), try.Key)
		if err != nil {
			return Verdict{}, err
		}
		if v, err := l.decideTry(ctx, l.db.Reader(), l.clock(), row, try); err != nil || v.Answer != Allow {
			return v, err
		}
	}
	return Verdict{Answer: Allow}, nil
}

// MayLetIn reports whether letting a browser in would help the account's owner. It would if unknown
// browsers can't try passwords now, but a browser that is let in can.
func (l *Ledger) MayLetIn(ctx context.Context, q db.Querier, accountID string) (bool, error) {
	shielded := map[string]bool{}
	for _, subject := range []string{"", LetIn} {
		try := Try{Key: Key{Account: accountID, Bucket: PasswordUnknownDevice, Subject: subject}, Units: 1}
		row, _, err := readRow(ctx, q, try.Key)
		if err != nil {
			return false, err
		}
		v, err := l.decideTry(ctx, q, l.clock(), row, try)
		if err != nil {
			return false, err
		}
		shielded[subject] = v.Answer == Shielded
	}
	return shielded[""] && !shielded[LetIn], nil
}

// errContended means that a concurrent request changed a row first.
var errContended = errors.New("ledger row was changed by a concurrent request")

// Reserve writes the tries to the ledger and commits them. Call it before the credential is
// verified (R3). It writes all tries or none. The reservation is valid only if the answer is
// [Allow]. After an error the caller must not verify the credential (F2).
func (l *Ledger) Reserve(ctx context.Context, tries ...Try) (Reservation, Verdict, error) {
	return l.ReserveFunc(ctx, func(*db.Tx) ([]Try, error) { return tries, nil })
}

// ReserveFunc is like [Ledger.Reserve], for the tries that the function find returns. It calls find
// in the transaction that reserves them, and may call it several times. If find returns an error,
// ReserveFunc returns that error and reserves no tries.
func (l *Ledger) ReserveFunc(ctx context.Context, find func(tx *db.Tx) ([]Try, error)) (Reservation, Verdict, error) {
	var random [4]byte
	rand.Read(random[:])
	r := Reservation{id: binary.BigEndian.Uint32(random[:])}
	for range reserveTries {
		var verdict Verdict
		r.rows = r.rows[:0]
		err := l.db.Write(ctx, func(tx *db.Tx) error {
			tries, err := find(tx)
			if err != nil {
				return err
			}
			verdict, err = l.reserve(ctx, tx, &r, tries)
			return err
		})
		switch {
		case errors.Is(err, errContended):
			continue
		case errors.Is(err, errRefused):
			return Reservation{}, verdict, nil
		case err != nil:
			return Reservation{}, Verdict{}, fmt.Errorf("reserve a try: %w", err)
		}
		return r, verdict, nil
	}
	return Reservation{}, Verdict{}, ErrBusy
}

// reserve adds the tries to their rows and records the rows in r.
func (l *Ledger) reserve(ctx context.Context, tx *db.Tx, r *Reservation, tries []Try) (Verdict, error) {
	for _, try := range tries {
		row, version, err := readForUpdate(ctx, tx, try.Key)
		if err != nil {
			return Verdict{}, err
		}
		now := l.clock()
		if v, err := l.decideTry(ctx, tx, now, row, try); err != nil {
			return Verdict{}, err
		} else if v.Answer != Allow {
			return v, errRefused
		}
		if len(row) > 0 && row[len(row)-1].at.After(now) {
			now = row[len(row)-1].at
		}
		row = prune(now, row, rules[try.Bucket])
		written, err := writeRow(ctx, tx, try.Key, append(row, entry{id: r.id, at: now, units: try.Units, tag: hashTag(try.Tag)}), version, now)
		if err != nil {
			return Verdict{}, err
		}
		if !written {
			return Verdict{}, errContended
		}
		r.rows = append(r.rows, reservedRow{key: try.Key, before: row, version: version + 1})
	}
	return Verdict{Answer: Allow}, nil
}

// Spend writes a try in the caller's transaction. The try is never given back: Spend is for
// limits on changes. The caller must have locked the account's row.
func (l *Ledger) Spend(ctx context.Context, tx *db.Tx, try Try) (Verdict, error) {
	var r Reservation
	verdict, err := l.reserve(ctx, tx, &r, []Try{try})
	switch {
	case errors.Is(err, errRefused):
		return verdict, nil
	case errors.Is(err, errContended):
		return Verdict{}, ErrBusy
	case err != nil:
		return Verdict{}, fmt.Errorf("spend a try: %w", err)
	}
	return verdict, nil
}

// errRefused rolls back the transaction, so that a refused try leaves no reservation in any row.
var errRefused = errors.New("refused")

// GiveBack removes a reservation in tx. It is for a try that was right or was not verified. It keeps
// all other entries, so that a success never refills a budget (R6).
func GiveBack(ctx context.Context, tx *db.Tx, r Reservation) error {
	for _, one := range r.rows {
		// First assume the common case: the row hasn't changed since the reservation.
		given, err := writeRow(ctx, tx, one.key, one.before, one.version, time.Time{})
		if err == nil && !given {
			err = editRow(ctx, tx, one.key, func(row []entry) []entry {
				return slices.DeleteFunc(row, func(e entry) bool { return e.id == r.id })
			})
		}
		if err != nil {
			return fmt.Errorf("give a try back: %w", err)
		}
	}
	return nil
}

// GiveBack calls the function [GiveBack] in a transaction of its own. It is for a try that ends
// without another change.
func (l *Ledger) GiveBack(ctx context.Context, r Reservation) error {
	return l.db.Write(ctx, func(tx *db.Tx) error { return GiveBack(ctx, tx, r) })
}

// codeBuckets are the buckets that count wrong codes.
var codeBuckets = []any{string(CodeUnknownDevice), string(CodeKnownDevice), string(TwoCodes)}

// codeRow is a row of a bucket in codeBuckets.
type codeRow struct {
	Key
	row []entry
}

// codeRows returns the account's rows of codeBuckets for all browsers, except empty rows.
func codeRows(ctx context.Context, q db.Querier, accountID string) ([]codeRow, error) {
	return db.All(ctx, q, `SELECT bucket, subject, times FROM ledger
		WHERE account_id = $1 AND bucket IN ($2, $3, $4) AND LENGTH(times) > 0 ORDER BY bucket, subject`, append([]any{accountID}, codeBuckets...), func(scan db.Scan) (r codeRow, err error) {
		r.Account = accountID
		var times []byte
		if err = scan(&r.Bucket, &r.Subject, &times); err == nil {
			r.row, err = decode(times)
		}
		return r, err
	})
}

// MarkOwned records that the attempt became a session, so that its wrong codes were the owner's.
// Those codes still count against guessing.
func MarkOwned(ctx context.Context, tx *db.Tx, accountID, attemptID string) error {
	rows, err := codeRows(ctx, tx, accountID)
	if err != nil {
		return fmt.Errorf("own an attempt's tries: %w", err)
	}
	attempt := hashTag(attemptID)
	for _, one := range rows {
		if !slices.ContainsFunc(one.row, func(e entry) bool { return e.tag == attempt }) {
			continue
		}
		err := editRow(ctx, tx, one.Key, func(row []entry) []entry {
			for i := range row {
				row[i].owned = row[i].owned || row[i].tag == attempt
			}
			return row
		})
		if err != nil {
			return fmt.Errorf("own an attempt's tries: %w", err)
		}
	}
	return nil
}

// Suspect returns what the account's wrong codes say about whether its password is stolen. Codes
// from known browsers count too, since a thief may have copied a cookie.
func (l *Ledger) Suspect(ctx context.Context, q db.Querier, accountID string, passwordSet time.Time) (Suspicion, error) {
	all, err := codeRows(ctx, q, accountID)
	if err != nil {
		return Suspicion{}, fmt.Errorf("read wrong codes: %w", err)
	}
	rows := make([][]entry, len(all))
	for i, one := range all {
		rows[i] = one.row
	}
	return suspicion(l.clock(), passwordSet, rows...), nil
}

// editRow replaces the entries of an existing row by what the function change returns for them.
func editRow(ctx context.Context, tx *db.Tx, key Key, change func([]entry) []entry) error {
	for range reserveTries {
		row, version, err := readForUpdate(ctx, tx, key)
		if err != nil {
			return err
		}
		before := encode(row)
		after := change(row)
		if bytes.Equal(before, encode(after)) {
			return nil
		}
		written, err := writeRow(ctx, tx, key, after, version, time.Time{})
		if err != nil || written {
			return err
		}
	}
	return ErrBusy
}

// Probe returns an error if tries can't be written, for example on a full or read-only disk. It
// writes to the ledger as a try does and removes what it wrote.
func Probe(ctx context.Context, d *db.DB) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		key := Key{Bucket: "probe"}
		_, err := writeRow(ctx, tx, key, nil, 0, time.UnixMilli(0))
		if err == nil {
			// The bucket is a condition too, since the rows of prefixes have no account either.
			_, err = db.Exec(ctx, tx, `DELETE FROM ledger WHERE account_id = $1 AND bucket = $2`, key.Account, string(key.Bucket))
		}
		if err != nil {
			return fmt.Errorf("probe the ledger: %w", err)
		}
		return nil
	})
}

// RemoveAccount deletes all rows of a removed account.
func RemoveAccount(ctx context.Context, tx *db.Tx, accountID string) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM ledger WHERE account_id = $1`, accountID)
	return err
}

// Expire deletes rows whose entries no rule needs any more. Each bucket has at most 2¹⁶ rows of
// names that don't exist.
func Expire(ctx context.Context, tx *db.Tx, now time.Time) error {
	// There is no index by changed_at, since every try would have to update it. So one statement
	// for all buckets reads the table once.
	var (
		conditions []string
		args       []any
	)
	for _, bucket := range slices.Sorted(maps.Keys(rules)) {
		conditions = append(conditions, fmt.Sprintf("bucket = $%d AND changed_at <= $%d", len(args)+1, len(args)+2))
		args = append(args, string(bucket), db.At{Time: now.Add(-rules[bucket].keep())})
	}
	if _, err := db.Exec(ctx, tx, `DELETE FROM ledger WHERE `+strings.Join(conditions, ` OR `), args...); err != nil {
		return fmt.Errorf("sweep ledger: %w", err)
	}
	return nil
}

// ClampTimes sets times of tries after latest, which come from a clock that was ahead, to latest.
// The tries still count, but no longer make a window end later. ClampTimes logs a row that it
// can't read and leaves it unchanged; such a row refuses all tries anyway. ClampTimes locks an
// account's rows in the same order as [Ledger.Reserve].
func ClampTimes(ctx context.Context, tx *db.Tx, latest time.Time) error {
	type keyed struct {
		Key
		times []byte
	}
	rows, err := db.All(ctx, tx, `SELECT account_id, bucket, subject, times FROM ledger WHERE changed_at > $1
		ORDER BY account_id DESC, bucket, subject FOR NO KEY UPDATE`, []any{db.At{Time: latest}}, func(scan db.Scan) (r keyed, err error) {
		return r, scan(&r.Account, &r.Bucket, &r.Subject, &r.times)
	})
	if err != nil {
		return fmt.Errorf("find tries dated in the future: %w", err)
	}
	for _, r := range rows {
		entries, err := decode(r.times)
		if err != nil {
			slog.Error("a row of the rate limits can't be read, and was left unchanged", "account", r.Account, "bucket", string(r.Bucket), "reason", err.Error())
			continue
		}
		for i := range entries {
			if entries[i].at.After(latest) {
				entries[i].at = latest
			}
		}
		_, err = db.Exec(ctx, tx, `
			UPDATE ledger SET times = $4, version = version + 1, changed_at = $5
			WHERE account_id = $1 AND bucket = $2 AND subject = $3`,
			r.Account, string(r.Bucket), r.Subject, encode(entries), db.At{Time: latest})
		if err != nil {
			return fmt.Errorf("correct the times of tries: %w", err)
		}
	}
	return nil
}
