package manage

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// delivery says how a link reaches the owner of an account: the actor sees it and hands it over,
// or it is mailed to the account's address and the actor never sees it.
type delivery struct {
	byMail bool
	token  secret.Text // of a link that is shown
	to     string      // the recipient of a link that is mailed
}

// mailKinds maps the kinds of links that operators issue to the kinds of mails that carry them.
var mailKinds = map[ticket.Kind]mail.LinkKind{
	ticket.Invitation: mail.Invitation, ticket.Enroll: mail.Enrollment, ticket.LetIn: mail.LetIn,
}

// deliver issues a link for the account, and records the audit event of the change that the link
// belongs to; the parameter event is the kind of that event. The parameter life is how long the link
// works if the actor sees it; a mailed link has its own life. The caller must have locked the
// account's row. Afterwards tx must use no other table, see [cluster.Use].
func (b *base) deliver(ctx context.Context, tx *db.Tx, by Actor, event audit.Kind, a account.Account, kind ticket.Kind, life time.Duration, how *delivery) error {
	now := b.login.Clock()
	detail := audit.LinkShown
	if by.as == audit.ByOwner {
		detail = "" // the owner issued the link
	}
	var err error
	if how.byMail {
		detail, how.to = audit.LinkMailed, a.Email
		err = b.mailLink(ctx, tx, mailKinds[kind], a, now)
	} else {
		how.token, err = ticket.IssueUntil(ctx, tx, ticket.Ticket{Kind: kind, AccountID: a.ID, ExpiresAt: now.Add(life)}, now)
	}
	if err != nil {
		return err
	}
	if err := b.login.Journal.Record(ctx, tx, b.event(by, a.ID, event, detail)); err != nil {
		return err
	}
	if how.byMail {
		// An earlier version would treat a mailed link like one that the actor hands over.
		return cluster.Use(ctx, tx, cluster.MailedLinks)
	}
	return nil
}

// checkMailed returns [ticket.ErrInvalid] if the link was mailed and must no longer be redeemed,
// because the account has another address now, or because mails would then have replaced both the
// password and the second factor. It accepts every link that wasn't mailed.
func (b *base) checkMailed(ctx context.Context, q db.Querier, link ticket.Ticket, owner account.Account) error {
	if !link.IsMailed() {
		return nil
	}
	to, err := link.Data(b.login.Ring)
	if err != nil {
		return err
	}
	if string(to) != owner.Email || link.Kind != ticket.Invitation && !owner.MayRecover() {
		return ticket.ErrInvalid
	}
	if link.Kind != ticket.Enroll {
		return nil
	}
	suspect, err := password.SuspectSince(ctx, q, owner.ID)
	if err == nil && (!suspect.IsZero() || !owner.MailMayReplaceFactor(b.login.Clock())) {
		err = ticket.ErrInvalid
	}
	return err
}
