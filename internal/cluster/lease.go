package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Lease gives holder the lease with the given name until now + life, and reports whether it did.
// It doesn't while another holder's lease lasts. A holder renews its lease by calling Lease again.
// The clocks of nodes may differ, so a lease only saves work; work that must happen once needs a
// condition of its own. A lease that would end later than now + 2*life is ignored: it was taken by
// a clock that has been set back since.
func Lease(ctx context.Context, d *db.DB, name, holder string, life time.Duration, now time.Time) (held bool, err error) {
	err = d.Write(ctx, func(tx *db.Tx) error {
		n, err := db.Exec(ctx, tx, `
			INSERT INTO leases (name, holder, expires_at)
			VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE
			SET    holder = excluded.holder, expires_at = excluded.expires_at
			WHERE  leases.holder = excluded.holder OR leases.expires_at <= $4 OR leases.expires_at > $5`,
			name, holder, db.At{Time: now.Add(life)}, db.At{Time: now}, db.At{Time: now.Add(2 * life)})
		held = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("take lease %s: %w", name, err)
	}
	return held, nil
}

// EndLeases removes all leases of a node that stops, and its report, so that no other
// node waits for them to end.
func EndLeases(ctx context.Context, d *db.DB, holder string) error {
	err := d.Write(ctx, func(tx *db.Tx) error {
		if _, err := db.Exec(ctx, tx, `DELETE FROM leases WHERE holder = $1`, holder); err != nil {
			return err
		}
		_, err := db.Exec(ctx, tx, `DELETE FROM nodes WHERE id = $1`, holder)
		return err
	})
	if err != nil {
		return fmt.Errorf("end leases: %w", err)
	}
	return nil
}
