// Package journal records what happens to accounts and to the portal. It is the only caller of
// [audit.Append], so that a change can't write an event past it. It owns no table.
package journal

import (
	"context"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
)

// Journal records events. Its zero value is ready to use. It is safe for concurrent use.
type Journal struct{}

// Record adds the event to the audit log in tx, so that the event is stored if and only if the
// change that it reports is. See [audit.Append] for the fields that it sets and leaves out, and
// for the order in which tx must use its tables.
func (j Journal) Record(ctx context.Context, tx *db.Tx, e audit.Event) error {
	return audit.Append(ctx, tx, e)
}
