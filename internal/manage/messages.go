package manage

import (
	"context"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/outbox"
)

// Messages changes the messages that wait to be sent.
type Messages struct{ *base }

// Retry makes messages that wait after a failure due now: the one with the id, or all if the id
// is empty. It returns their number.
func (m Messages) Retry(ctx context.Context, by Actor, id string) (n int, err error) {
	err = m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if n, err = outbox.Retry(ctx, tx, id, m.login.Clock()); err != nil || n == 0 {
			return err
		}
		event := m.event(by, "", audit.MessagesRetried, "")
		event.Number = n
		return m.login.Journal.Record(ctx, tx, event)
	})
	return n, err
}

// Remove deletes a message that was not sent, and records that for the account that the message
// was for. It returns [db.ErrNotFound] if there is no such message, and [outbox.ErrClaimed] while
// a server sends it.
func (m Messages) Remove(ctx context.Context, by Actor, id string) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		message, err := outbox.ByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := outbox.Remove(ctx, tx, message, m.login.Clock()); err != nil {
			return err
		}
		return m.login.Journal.RecordUnsent(ctx, tx, message, m.event(by, "", "", ""))
	})
}
