// Package journal records what happens to accounts and to the portal in the audit log, and stores
// the notices to the owners of accounts in the outbox. It is the only caller of [audit.Append],
// so that an event can't be recorded without its notice. It owns no table.
package journal

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
)

// Journal records events. Its zero value records them and sends no notices. It is safe for
// concurrent use.
type Journal struct {
	Ring *secret.Ring // seals what is to be sent; needed only with Tells

	// Tells reports whether the configuration now sends notices of the kind k. The way to send
	// them is [outbox.Mail] or [outbox.Webhook]. If Tells is nil, no notices are sent.
	Tells func(way outbox.Kind, k notice.Kind) bool
}

// Record adds the event to the audit log in tx, so that the event is stored if and only if the
// change that it reports is. If the event has a notice and a way to send it is configured, Record
// stores the message to the account's owner in tx too. See [audit.Append] for the fields that it
// sets or leaves out, and for the order in which tx must use its tables.
func (j Journal) Record(ctx context.Context, tx *db.Tx, e audit.Event) error {
	return j.RecordWith(ctx, tx, e, notice.Facts{})
}

// RecordWith is [Journal.Record] for an event with facts that the audit log doesn't store.
func (j Journal) RecordWith(ctx context.Context, tx *db.Tx, e audit.Event, f notice.Facts) error {
	e = e.Cleaned()
	e.ID = secret.NewTimedID(e.At) // the notice has the same id
	if e.Kind == audit.EmailChanged || e.Kind == audit.EmailRestored {
		// Do this even if mail isn't configured now: it may have been configured when the mails were
		// stored.
		if err := outbox.PinAddress(ctx, tx, e.AccountID, f.FormerEmail); err != nil {
			return err
		}
	}
	if n, ok := notice.Of(e, f); ok && j.Tells != nil {
		// Store the messages before the event, because of the order of locks; see [audit.Append].
		if err := j.tell(ctx, tx, n, f); err != nil {
			return err
		}
	}
	return audit.Append(ctx, tx, e)
}

// tell stores the messages that carry the notice.
func (j Journal) tell(ctx context.Context, tx *db.Tx, n notice.Notice, f notice.Facts) error {
	byMail, byWebhook := j.Tells(outbox.Mail, n.Kind), j.Tells(outbox.Webhook, n.Kind)
	if !byMail && !byWebhook {
		return nil
	}
	message := outbox.Message{Kind: outbox.Mail, AccountID: n.Account, Topic: string(n.Kind), Body: n.Encode(), Urgent: n.Kind.IsDefence()}
	if n.Kind == notice.AccountRemoved {
		message.Address = f.FormerEmail // the account has no address any more
		byMail = byMail && message.Address != ""
	}
	if byMail {
		if err := outbox.Add(ctx, tx, j.Ring, message, n.At); err != nil {
			return err
		}
		if f.FormerEmail != "" && !f.FormerTold {
			n.Former = true
			former := message
			former.Address, former.Body = f.FormerEmail, n.Encode()
			if err := outbox.Add(ctx, tx, j.Ring, former, n.At); err != nil {
				return err
			}
			n.Former = false
		}
	}
	if !byWebhook {
		return nil
	}
	message.Kind, message.AccountID, message.Address = outbox.Webhook, "", ""
	return outbox.Add(ctx, tx, j.Ring, message, n.At)
}

// GaveUp records that the server gave a message up.
func (j Journal) GaveUp(ctx context.Context, tx *db.Tx, m outbox.Message, _ error, now time.Time) error {
	return j.RecordUnsent(ctx, tx, m, audit.Event{At: now, Actor: audit.ByServer, Outcome: audit.Refused})
}

// RecordUnsent records that the server gave a message up, or that an operator dropped it. tx must
// be the transaction that deletes the message.
func (j Journal) RecordUnsent(ctx context.Context, tx *db.Tx, m outbox.Message, e audit.Event) error {
	e.Detail, e.Number = m.Topic, m.Tries
	switch {
	case m.Kind == outbox.Mail && e.Actor == audit.ByServer:
		e.Kind, e.AccountID = audit.MailGivenUp, m.AccountID
	case m.Kind == outbox.Mail:
		e.Kind, e.AccountID = audit.MailDropped, m.AccountID
	case e.Actor == audit.ByServer:
		e.Kind = audit.WebhookGivenUp
	default:
		e.Kind = audit.WebhookDropped
	}
	return j.Record(ctx, tx, e)
}
