package throttle

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// reserveTries bounds how often a reservation is tried again after another request
// changed the same row first.
const reserveTries = 8

// ErrBusy: too many requests changed the row at once, so nothing was tried.
var ErrBusy = errors.New("ledger row is contended")

// Key names a row of the ledger.
type Key struct {
	// Account is the account's id, never what was typed (R5); for names that
	// don't exist, what the caller derives from the name; empty for a prefix.
	Account string
	Bucket  Bucket
	// Subject is the device or address prefix where the bucket has one.
	Subject string
}

// Try is what somebody wants to do.
type Try struct {
	Key
	Units       int
	Tag         string    // what it belongs to: an attempt's id, or for a prefix the account's
	PasswordSet time.Time // for [TwoCodes]: when the password was set
}

// Reservation is a try that was written down before it was made, in one row or
// several. If nobody gives it back, it counts as failed: so does a crash.
type Reservation struct {
	rows []reserved
	id   uint32
}

// reserved is a row as it was before the try was written down, and the version
// that it has had since.
type reserved struct {
	key     Key
	before  []entry
	version int64
}

// Ledger answers what may be tried. What it counts is in the database (R4).
type Ledger struct {
	db    *db.DB
	clock func() time.Time
	hot   atomic.Bool // the instance's budget; see [Ledger.Measure]
}

// NewLedger returns a ledger in d.
func NewLedger(d *db.DB, clock func() time.Time) *Ledger { return &Ledger{db: d, clock: clock} }

func (l *Ledger) ask(ctx context.Context, q db.Querier, now time.Time, row []entry, try Try) (Verdict, error) {
	hot := l.hot.Load()
	if !hot && try.Bucket == CodeUnknownDevice {
		var err error
		if hot, err = restoredLately(ctx, q, now); err != nil {
			return Verdict{}, err
		}
	}
	v := decide(now, row, rules[try.Bucket], question{
		units: try.Units, tag: tag(try.Tag), passwordSet: try.PasswordSet, instanceHot: hot,
	})
	v.Bucket = try.Bucket
	return v, nil
}

// Look answers whether all of the tries could be made now, and changes
// nothing: it spares the hashing queue those that would be refused anyway.
func (l *Ledger) Look(ctx context.Context, tries ...Try) (Verdict, error) {
	for _, try := range tries {
		row, _, err := read(ctx, l.db.Reader(), try.Key)
		if err != nil {
			return Verdict{}, err
		}
		if v, err := l.ask(ctx, l.db.Reader(), l.clock(), row, try); err != nil || v.Answer != Allow {
			return v, err
		}
	}
	return Verdict{Answer: Allow}, nil
}

// errContended: another request changed a row first.
var errContended = errors.New("row changed meanwhile")

// Reserve writes down the tries and commits them together, before anything is
// verified (R3), or none of them. Only an answer of [Allow] comes with a
// reservation. An error means that nothing may be verified (F2).
func (l *Ledger) Reserve(ctx context.Context, tries ...Try) (Reservation, Verdict, error) {
	return l.ReserveFound(ctx, func(*db.Tx) ([]Try, error) { return tries, nil })
}

// ReserveFound is [Ledger.Reserve] of the tries that find reads in the same
// transaction, perhaps more than once; its error is returned, and nothing is
// reserved.
func (l *Ledger) ReserveFound(ctx context.Context, find func(tx *db.Tx) ([]Try, error)) (Reservation, Verdict, error) {
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

// reserve adds the tries to their rows, and the rows to r.
func (l *Ledger) reserve(ctx context.Context, tx *db.Tx, r *Reservation, tries []Try) (Verdict, error) {
	for _, try := range tries {
		row, version, err := readToWrite(ctx, tx, try.Key)
		if err != nil {
			return Verdict{}, err
		}
		now := l.clock()
		if v, err := l.ask(ctx, tx, now, row, try); err != nil {
			return Verdict{}, err
		} else if v.Answer != Allow {
			return v, errRefused
		}
		if len(row) > 0 && row[len(row)-1].at.After(now) {
			now = row[len(row)-1].at
		}
		row = prune(now, row, rules[try.Bucket])
		written, err := write(ctx, tx, try.Key, append(row, entry{id: r.id, at: now, units: try.Units, tag: tag(try.Tag)}), version, now)
		if err != nil {
			return Verdict{}, err
		}
		if !written {
			return Verdict{}, errContended
		}
		r.rows = append(r.rows, reserved{key: try.Key, before: row, version: version + 1})
	}
	return Verdict{Answer: Allow}, nil
}

// Spend writes down a try in the caller's transaction, where it stays: for what is
// paced, and not guessed. The caller holds a lock on whatever the row is about.
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

// errRefused rolls back what was reserved in other rows.
var errRefused = errors.New("refused")

// GiveBack takes a reservation out again, in tx: the try succeeded, or nothing
// was compared. It leaves every other entry as it is, so no success refills a
// bucket (R6).
func GiveBack(ctx context.Context, tx *db.Tx, r Reservation) error {
	for _, one := range r.rows {
		// Mostly nobody changed the row since.
		given, err := write(ctx, tx, one.key, one.before, one.version, time.Time{})
		if err == nil && !given {
			err = edit(ctx, tx, one.key, func(row []entry) []entry {
				return slices.DeleteFunc(row, func(e entry) bool { return e.id == r.id })
			})
		}
		if err != nil {
			return fmt.Errorf("give a try back: %w", err)
		}
	}
	return nil
}

// GiveBack is the function of that name in a transaction of its own, for a
// try that ends without another change.
func (l *Ledger) GiveBack(ctx context.Context, r Reservation) error {
	return l.db.Write(ctx, func(tx *db.Tx) error { return GiveBack(ctx, tx, r) })
}

// codeBuckets count wrong codes.
var codeBuckets = []any{string(CodeUnknownDevice), string(CodeKnownDevice), string(TwoCodes)}

// codeRow is a row of tries with codes.
type codeRow struct {
	Key
	row []entry
}

// codeRows returns those of an account, from every browser, in which there is a try.
func codeRows(ctx context.Context, q db.Querier, accountID string) ([]codeRow, error) {
	return db.All(ctx, q, func(scan db.Scan) (r codeRow, err error) {
		r.Account = accountID
		var times []byte
		if err = scan(&r.Bucket, &r.Subject, &times); err == nil {
			r.row, err = decode(times)
		}
		return r, err
	}, `SELECT bucket, subject, times FROM ledger
		WHERE account_id = $1 AND bucket IN ($2, $3, $4) AND LENGTH(times) > 0 ORDER BY bucket, subject`,
		append([]any{accountID}, codeBuckets...)...)
}

// Own notes that the attempt became a session: its wrong codes were the
// owner's own. They stay counted against guessing.
func Own(ctx context.Context, tx *db.Tx, accountID, attemptID string) error {
	rows, err := codeRows(ctx, tx, accountID)
	if err != nil {
		return fmt.Errorf("own an attempt's tries: %w", err)
	}
	mine := tag(attemptID)
	for _, one := range rows {
		if !slices.ContainsFunc(one.row, func(e entry) bool { return e.tag == mine }) {
			continue
		}
		err := edit(ctx, tx, one.Key, func(row []entry) []entry {
			for i := range row {
				row[i].owned = row[i].owned || row[i].tag == mine
			}
			return row
		})
		if err != nil {
			return fmt.Errorf("own an attempt's tries: %w", err)
		}
	}
	return nil
}

// Suspect returns what the wrong codes of an account say about its password, known
// browsers' too: a thief may have copied the cookie of one.
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

// edit changes a row that is there.
func edit(ctx context.Context, tx *db.Tx, key Key, change func([]entry) []entry) error {
	for range reserveTries {
		row, version, err := readToWrite(ctx, tx, key)
		if err != nil {
			return err
		}
		before := encode(row)
		after := change(row)
		if bytes.Equal(before, encode(after)) {
			return nil
		}
		written, err := write(ctx, tx, key, after, version, time.Time{})
		if err != nil || written {
			return err
		}
	}
	return ErrBusy
}

// Probe writes to the ledger as a try does and leaves nothing behind: it fails
// where no try could be written down, on a full or read-only disk too.
func Probe(ctx context.Context, d *db.DB) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		key := Key{Bucket: "probe"}
		_, err := write(ctx, tx, key, nil, 0, time.UnixMilli(0))
		if err == nil {
			// This row alone: the others without an account are those of prefixes.
			_, err = db.Exec(ctx, tx, `DELETE FROM ledger WHERE account_id = $1 AND bucket = $2`, key.Account, string(key.Bucket))
		}
		if err != nil {
			return fmt.Errorf("probe the ledger: %w", err)
		}
		return nil
	})
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

// BringBack moves tries that a clock which was ahead wrote down after latest to it.
// They still count, but neither empty the windows before them nor hold them open. A row
// that can't be read is logged and left as it is: every try in it is refused anyway. Rows
// are locked in the order in which [Ledger.Reserve] locks those of an account.
func BringBack(ctx context.Context, tx *db.Tx, latest time.Time) error {
	type keyed struct {
		Key
		times []byte
	}
	rows, err := db.All(ctx, tx, func(scan db.Scan) (r keyed, err error) {
		return r, scan(&r.Account, &r.Bucket, &r.Subject, &r.times)
	}, `SELECT account_id, bucket, subject, times FROM ledger WHERE changed_at > $1
		ORDER BY account_id DESC, bucket, subject`+tx.Locked(), db.At{Time: latest})
	if err != nil {
		return fmt.Errorf("find tries of the future: %w", err)
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
			return fmt.Errorf("bring tries back: %w", err)
		}
	}
	return nil
}
