package manage

import (
	"context"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/outbox"
)

// Messages changes the messages that wait to be sent.
type Messages struct{ *base }

// Retry makes a message that waits after a failed try due now, so that it is sent again. If id is
// empty, it does so for all such messages. It returns their number.
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

// Remove deletes an unsent message, and records that in the audit log under the message's account.
// It returns [db.ErrNotFound] if there is no such message, and [outbox.ErrClaimed] while a server
// is sending the message.
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
