package throttle

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Wrong codes of all accounts together: many accounts with leaked passwords
// add up, whatever each may try.
const (
	instanceDay        = 30 // wrong codes in 24 h, or a tenth of the accounts
	instanceYear       = 100
	instancePerAccount = 3 // wrong codes in 365 d for each account

	// MeasureEvery is how often the instance's budget is counted.
	MeasureEvery = 10 * time.Second
)

// instanceHot is a pure function: whether so many wrong codes are too many for
// so many accounts.
func instanceHot(lastDay, lastYear, accounts int) bool {
	return lastDay >= max(instanceDay, accounts/10) || lastYear >= max(instanceYear, instancePerAccount*accounts)
}

// verdict is the row that holds whether the instance is hot, for all nodes: one
// entry, or none.
var verdict = Key{Bucket: instance}

// Hot reports what this node heard last, by [Ledger.Measure] or
// [Ledger.Refresh].
func (l *Ledger) Hot() bool { return l.hot.Load() }

// Measure counts the wrong codes of unknown browsers over all accounts, and
// tells every node whether they are too many: then it asks for two codes in a
// row. One node does so for all; the others call [Ledger.Refresh].
func (l *Ledger) Measure(ctx context.Context, accounts int) (bool, error) {
	now := l.clock()
	lastDay, lastYear, err := wrongCodes(ctx, l.db.Reader(), now)
	if err != nil {
		return false, fmt.Errorf("measure the instance: %w", err)
	}
	hot := instanceHot(lastDay, lastYear, accounts)
	if told, err := l.Refresh(ctx); err != nil || told == hot {
		return told, err // mostly nothing is to be written
	}
	err = l.db.Write(ctx, func(tx *db.Tx) error {
		row, version, err := read(ctx, tx, verdict)
		if err != nil || (len(row) > 0) == hot {
			return err
		}
		row = nil
		if hot {
			row = []entry{{at: now, units: 1}}
		}
		written, err := write(ctx, tx, verdict, row, version, now)
		if err == nil && !written {
			err = ErrBusy
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("tell what the instance measures: %w", err)
	}
	l.hot.Store(hot)
	return hot, nil
}

// wrongCodes counts those of all accounts from unknown browsers. A year's are as
// many as the accounts that mistyped in it, so the database counts them; in a row
// that was written within it some may be older.
func wrongCodes(ctx context.Context, q db.Querier, now time.Time) (lastDay, lastYear int, err error) {
	err = db.One(ctx, q, `SELECT COALESCE(SUM(LENGTH(times)), 0) FROM ledger WHERE bucket = $1 AND changed_at > $2`,
		[]any{string(CodeUnknownDevice), db.At{Time: now.Add(-year)}}, &lastYear)
	if err != nil {
		return 0, 0, err
	}
	rows, err := db.All(ctx, q, func(scan db.Scan) ([]entry, error) {
		var times []byte
		if err := scan(&times); err != nil {
			return nil, err
		}
		return decode(times)
	}, `SELECT times FROM ledger WHERE bucket = $1 AND changed_at > $2 AND LENGTH(times) > 0`, string(CodeUnknownDevice), db.At{Time: now.Add(-day)})
	for _, row := range rows {
		for _, e := range row {
			if now.Sub(e.at) < day {
				lastDay++
			}
		}
	}
	return lastDay, lastYear / entryBytes, err
}

// Refresh takes over what a node has measured last, and returns it. Where it
// can't be read what was known stands.
func (l *Ledger) Refresh(ctx context.Context) (bool, error) {
	row, _, err := read(ctx, l.db.Reader(), verdict)
	if err != nil {
		return l.Hot(), fmt.Errorf("read what the instance measures: %w", err)
	}
	l.hot.Store(len(row) > 0)
	return len(row) > 0, nil
}

// Restored notes that the database came out of a backup: it has forgotten what
// was tried since. For a day unknown browsers need two codes in a row, as if
// the wrong codes of the whole instance were too many (F13).
func Restored(ctx context.Context, tx *db.Tx, now time.Time) error {
	key := Key{Bucket: restored}
	row, version, err := read(ctx, tx, key)
	if err != nil {
		return err
	}
	written, err := write(ctx, tx, key, append(prune(now, row, rules[restored]), entry{at: now, units: 1}), version, now)
	if err == nil && !written {
		err = ErrBusy
	}
	return err
}

// restoredLately reports whether [Restored] was within a day. It reads the row
// each time: a cache would be empty just after the restore.
func restoredLately(ctx context.Context, q db.Querier, now time.Time) (bool, error) {
	row, _, err := read(ctx, q, Key{Bucket: restored})
	return decide(now, row, rules[restored], question{units: 1}).Answer != Allow, err
}
