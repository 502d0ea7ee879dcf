package throttle

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Limits on the wrong codes of all accounts together. If many passwords have leaked, the tries
// that each account allows add up.
const (
	instanceDay        = 30  // wrong codes in 24 h; or a tenth of the accounts if that is more
	instanceYear       = 100 // wrong codes in 365 d
	instancePerAccount = 3   // wrong codes in 365 d for each account, if that is more than instanceYear

	// MeasureEvery is the interval at which wrong codes of the instance are counted.
	MeasureEvery = 10 * time.Second
)

// instanceHot reports whether an instance with so many accounts has too many wrong codes; it is
// then called hot. lastDay and lastYear are the numbers of wrong codes. instanceHot is pure.
func instanceHot(lastDay, lastYear, accounts int) bool {
	return lastDay >= max(instanceDay, accounts/10) || lastYear >= max(instanceYear, instancePerAccount*accounts)
}

// instanceKey is the key of the row by which all nodes know the state of the instance. The row has
// an entry if the instance is hot.
var instanceKey = Key{Bucket: instance}

// IsHot reports whether the instance was hot when this node last called [Ledger.Measure] or
// [Ledger.Refresh].
func (l *Ledger) IsHot() bool { return l.hot.Load() }

// Measure counts the wrong codes from unknown browsers over all accounts, reports whether the
// instance is hot, and stores that for all nodes. While the instance is hot, all nodes demand two
// codes in a row. One node calls Measure; the others call [Ledger.Refresh].
func (l *Ledger) Measure(ctx context.Context, accounts int) (bool, error) {
	now := l.clock()
	lastDay, lastYear, err := wrongCodes(ctx, l.db.Reader(), now)
	if err != nil {
		return false, fmt.Errorf("measure the instance: %w", err)
	}
	hot := instanceHot(lastDay, lastYear, accounts)
	if known, err := l.Refresh(ctx); err != nil || known == hot {
		return known, err // the common case: the state is unchanged
	}
	err = l.db.Write(ctx, func(tx *db.Tx) error {
		row, version, err := readRow(ctx, tx, instanceKey)
		if err != nil || (len(row) > 0) == hot {
			return err
		}
		row = nil
		if hot {
			row = []entry{{at: now, units: 1}}
		}
		written, err := writeRow(ctx, tx, instanceKey, row, version, now)
		if err == nil && !written {
			err = ErrBusy
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("store the state of the instance: %w", err)
	}
	l.hot.Store(hot)
	return hot, nil
}

// wrongCodes counts the wrong codes of all accounts from unknown browsers. The database itself
// counts those of the year, since there can be as many rows as accounts. That count can include
// entries older than a year, if their row changed within the year.
func wrongCodes(ctx context.Context, q db.Querier, now time.Time) (lastDay, lastYear int, err error) {
	err = db.One(ctx, q, `SELECT COALESCE(SUM(LENGTH(times)), 0) FROM ledger WHERE bucket = $1 AND changed_at > $2 AND LENGTH(times) > 0`,
		[]any{string(CodeUnknownDevice), db.At{Time: now.Add(-year)}}, &lastYear)
	if err != nil {
		return 0, 0, err
	}
	rows, err := db.All(ctx, q, `SELECT times FROM ledger WHERE bucket = $1 AND changed_at > $2 AND LENGTH(times) > 0`,
		[]any{string(CodeUnknownDevice), db.At{Time: now.Add(-day)}}, func(scan db.Scan) ([]entry, error) {
			var times []byte
			if err := scan(&times); err != nil {
				return nil, err
			}
			return decode(times)
		})
	for _, row := range rows {
		for _, e := range row {
			if now.Sub(e.at) < day {
				lastDay++
			}
		}
	}
	return lastDay, lastYear / entryBytes, err
}

// Refresh reads the state that [Ledger.Measure] last stored and reports whether the instance is
// hot. If Refresh can't read the state, [Ledger.IsHot] keeps its result.
func (l *Ledger) Refresh(ctx context.Context) (bool, error) {
	row, _, err := readRow(ctx, l.db.Reader(), instanceKey)
	if err != nil {
		return l.IsHot(), fmt.Errorf("read the state of the instance: %w", err)
	}
	l.hot.Store(len(row) > 0)
	return len(row) > 0, nil
}

// MarkRestored records that the database was restored from a backup, so that it lacks the tries
// since the backup. For a day, unknown browsers then need two codes in a row, as in a hot
// instance (F13).
func MarkRestored(ctx context.Context, tx *db.Tx, now time.Time) error {
	key := Key{Bucket: restored}
	row, version, err := readRow(ctx, tx, key)
	if err != nil {
		return err
	}
	written, err := writeRow(ctx, tx, key, append(prune(now, row, rules[restored]), entry{at: now, units: 1}), version, now)
	if err == nil && !written {
		err = ErrBusy
	}
	return err
}

// isRecentlyRestored reports whether [MarkRestored] was called within the last day. It reads the
// row each time, since a cache would be empty just after the restore.
func isRecentlyRestored(ctx context.Context, q db.Querier, now time.Time) (bool, error) {
	row, _, err := readRow(ctx, q, Key{Bucket: restored})
	return decide(now, row, rules[restored], question{units: 1}).Answer != Allow, err
}
