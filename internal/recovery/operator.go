package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

const (
	// InvitationLife is how long a mailed invitation works. It covers a weekend.
	InvitationLife = 72 * time.Hour
	// EnrollLife is how long a mailed link to the wizard works. NIST SP 800-63B-4, "Account
	// Recovery", permits 24 hours for codes that are mailed.
	EnrollLife = 24 * time.Hour
	// LetInLife is how long a mailed let-in link works: as long as a link of [ResetLife].
	LetInLife = ResetLife
)

// Reasons why a mailed link must not replace the second factor, besides those of package account:
// whoever reads the mailbox would get both factors.
var (
	ErrPasswordMailed  = errors.New("mail has replaced the password within the last 7 days")
	ErrPasswordSuspect = errors.New("the link would replace the password too")
)

// operatorsLinks has the kinds of links that operators can have mailed. Their page is /setup.
var operatorsLinks = map[mail.LinkKind]struct {
	kind ticket.Kind
	life time.Duration
}{
	mail.Invitation: {ticket.Invitation, InvitationLife},
	mail.Enrollment: {ticket.Enroll, EnrollLife},
	mail.LetIn:      {ticket.LetIn, LetInLife},
}

// MailLink stores a link that an operator issues for an account, and the link's mail. The account's
// earlier links of that kind end. The caller must have locked the account's row, and records the
// event. MailLink returns [ErrNoMail], or the reason why such a link must not be mailed; the caller
// must then roll back.
func (s *Service) MailLink(ctx context.Context, tx *db.Tx, kind mail.LinkKind, owner account.Account, now time.Time) error {
	link, ok := operatorsLinks[kind]
	if !ok {
		return fmt.Errorf("operators have no links of the kind %q mailed", kind)
	}
	if !s.HasMail() {
		return ErrNoMail
	}
	if refused, err := refusal(ctx, tx, link.kind, owner, now); err != nil || refused != nil {
		return errors.Join(refused, err)
	}
	if _, err := ticket.Revoke(ctx, tx, link.kind, owner.ID); err != nil {
		return err
	}
	l := letter{Token: secret.NewToken().Reveal(), At: now.UnixMilli()}
	m := outbox.Message{Kind: outbox.Mail, AccountID: owner.ID, Address: owner.Email, Topic: string(kind), Body: l.encode(), Urgent: true, Brief: kind == mail.LetIn}
	if err := s.storeOperators(ctx, tx, m, l, now); err != nil {
		return err
	}
	return outbox.Add(ctx, tx, s.Login.Ring, m, now)
}

// refusal returns, in refused, why a link of the given kind must not be mailed to the owner, or nil
// if it may be mailed.
func refusal(ctx context.Context, q db.Querier, kind ticket.Kind, owner account.Account, now time.Time) (refused, err error) {
	if kind == ticket.Invitation {
		return owner.CheckInvitable(), nil
	}
	if refused := owner.CheckMailable(); refused != nil || kind != ticket.Enroll {
		return refused, nil
	}
	suspect, err := password.SuspectSince(ctx, q, owner.ID)
	switch {
	case err != nil:
		return nil, err
	case !owner.MailMayReplaceFactor(now):
		return ErrPasswordMailed, nil
	case !suspect.IsZero():
		return ErrPasswordSuspect, nil
	}
	return nil, nil
}

// storeOperators stores the link of a message, or renews its life.
func (s *Service) storeOperators(ctx context.Context, tx *db.Tx, m outbox.Message, l letter, now time.Time) error {
	of := operatorsLinks[mail.LinkKind(m.Topic)]
	link := ticket.Ticket{Kind: of.kind, AccountID: m.AccountID, ExpiresAt: now.Add(of.life + sendTime)}
	_, err := ticket.Mail(ctx, tx, s.Login.Ring, link, secret.NewText(l.Token), []byte(m.Address), now)
	return err
}

// renewOperators renews the life of an operator's link whose mail is due, and reports whether the
// mail is to be sent. If it isn't, and the owner still needs such a link and gets no newer one,
// renewOperators records that the mail was given up, so that the operator can hand over a link.
func (s *Service) renewOperators(ctx context.Context, tx *db.Tx, m outbox.Message, l letter, owner account.Account) (bool, error) {
	now, kind := s.Login.Clock(), operatorsLinks[mail.LinkKind(m.Topic)].kind
	// The link isn't stored any more if it was revoked, replaced or redeemed, or if it expired while
	// no server ran.
	held, err := ticket.Holds(ctx, tx, secret.NewText(l.Token))
	if err != nil {
		return false, err
	}
	refused, err := refusal(ctx, tx, kind, owner, now)
	if err != nil {
		return false, err
	}
	if held && refused == nil && owner.Email == m.Address {
		return true, s.storeOperators(ctx, tx, m, l, now)
	}
	if !held {
		if another, err := ticket.Exists(ctx, tx, kind, owner.ID, now); err != nil || another {
			return false, err
		}
	}
	isNeeded := kind == ticket.Enroll && owner.EnrollLocked
	if kind == ticket.Invitation {
		since, err := password.ChangedAt(ctx, tx, owner.ID)
		if err != nil {
			return false, err
		}
		isNeeded = since.IsZero()
	}
	if !isNeeded {
		return false, nil
	}
	return false, s.Login.Journal.GaveUp(ctx, tx, m, refused, now)
}
