package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Letter is a mail with a link that is to be sent now.
type Letter struct {
	To    string
	Owner account.Account
	Link  mail.Link
}

// ResetLife is how long the link to a new password works once its mail is sent: long enough to
// fetch the mail on another device.
const ResetLife = 30 * time.Minute

// Prepare stores the link of a message and returns the mail with the link. [IsLink] must be true of
// the message's topic. Prepare is called before each try to send the message, and each call renews
// the link's life, which therefore begins with the last try. It returns [ErrMoot] if the message is
// not to be sent.
func (s *Service) Prepare(ctx context.Context, m outbox.Message) (Letter, error) {
	l, err := decode(m.Body)
	if err != nil {
		return Letter{}, err
	}
	var (
		letter Letter
		isDue  bool
	)
	err = s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		owner, err := locked(ctx, tx, m.AccountID)
		if errors.Is(err, ErrMoot) && login.IsUnknownName(m.AccountID) {
			return s.decline(ctx, tx, m, l)
		}
		if err != nil {
			return err
		}
		letter = Letter{To: m.Address, Owner: owner, Link: mail.Link{
			Kind: mail.LinkKind(m.Topic), At: time.UnixMilli(l.At).UTC(), Address: l.Address, Browser: l.Browser,
		}}
		switch letter.Link.Kind {
		case mail.Reset:
			letter.Link.Life, letter.Link.URL = ResetLife, s.url("/reset", l.Token)
			isDue, err = s.storeReset(ctx, tx, m, l, owner)
			return err
		case mail.Unlock:
			letter.Link.Life, letter.Link.URL = UnlockLife, s.url("/unlock", l.Token)
			isDue, err = s.storeUnlock(ctx, tx, m, l, owner)
			return err
		case mail.VerifyEmail:
			letter.Link.Life, letter.Link.URL = VerifyLife, s.url("/settings/profile/email/confirm", l.Token)
			if isDue, err = ticket.Holds(ctx, tx, secret.NewText(l.Token)); err == nil && isDue {
				isDue, err = s.storeVerification(ctx, tx, m, l, owner)
			}
			return err
		case mail.UndoEmail:
			letter.Link.Life, letter.Link.URL = UndoLife, s.url("/undo-email", l.Token)
			if isDue, err = ticket.Holds(ctx, tx, secret.NewText(l.Token)); err == nil && isDue {
				isDue, err = s.storeUndo(ctx, tx, m, l)
			}
			return err
		case mail.Invitation, mail.Enrollment, mail.LetIn:
			letter.Link.Life, letter.Link.URL = operatorsLinks[letter.Link.Kind].life, s.url("/setup", l.Token)
			isDue, err = s.renewOperators(ctx, tx, m, l, owner)
			return err
		}
		return fmt.Errorf("no mail is sent for a link of the kind %q", m.Topic)
	})
	if err == nil && !isDue {
		err = ErrMoot
	}
	return letter, err
}

// url returns the URL of a page, with a token in its query.
func (s *Service) url(path, token string) string { return s.PublicURL + path + "?ticket=" + token }

// locked returns the account and locks its row until tx ends. It returns [ErrMoot] if the account
// doesn't exist.
func locked(ctx context.Context, tx *db.Tx, id string) (account.Account, error) {
	err := account.Lock(ctx, tx, id)
	var owner account.Account
	if err == nil {
		owner, err = account.ByID(ctx, tx, id)
	}
	if errors.Is(err, db.ErrNotFound) {
		err = ErrMoot
	}
	return owner, err
}

// mayGet reports whether the owner may recover the account by mail, and still has the address and
// the credentials that the account had when the mail was requested. An invited account has no
// password yet.
func mayGet(ctx context.Context, tx *db.Tx, m outbox.Message, l letter, owner account.Account) (bool, error) {
	changed, err := password.ChangedAt(ctx, tx, owner.ID)
	return err == nil && !changed.IsZero() && owner.MayRecover() && owner.Email == m.Address && owner.Stamp == l.Stamp, err
}

// decline counts a mail that isn't sent as if it were sent, so that both decisions write and commit.
// Otherwise a stranger could find out whether an account exists: SQLite has one writer, so the
// stranger's other requests would be delayed only by a decision that commits.
func (s *Service) decline(ctx context.Context, tx *db.Tx, m outbox.Message, l letter) error {
	_, err := s.spend(ctx, tx, ticket.Kind(m.Topic), m.AccountID, l)
	return err
}

// storeReset stores the link to a new password and reports whether its mail is to be sent.
func (s *Service) storeReset(ctx context.Context, tx *db.Tx, m outbox.Message, l letter, owner account.Account) (bool, error) {
	now := s.Login.Clock()
	if may, err := mayGet(ctx, tx, m, l, owner); err != nil {
		return false, err
	} else if !may {
		return false, s.decline(ctx, tx, m, l)
	}
	event := l.event(audit.ResetAsked, owner, now)
	if !owner.MailMayReplacePassword(now) {
		if may, err := s.spend(ctx, tx, ticket.Reset, owner.ID, l); err != nil || !may {
			return false, err
		}
		event.Outcome = audit.Refused
		return false, s.Login.Journal.Record(ctx, tx, event)
	}
	link := ticket.Ticket{Kind: ticket.Reset, AccountID: owner.ID, ExpiresAt: now.Add(ResetLife + sendTime)}
	return s.storeLink(ctx, tx, link, l, owner, linkData{Stamp: l.Stamp}, event)
}

// storeUnlock stores the link that lets a browser in and reports whether its mail is to be sent. The
// mail isn't sent if the browser can sign in without the link, or if the link wouldn't help.
func (s *Service) storeUnlock(ctx context.Context, tx *db.Tx, m outbox.Message, l letter, owner account.Account) (bool, error) {
	may, err := mayGet(ctx, tx, m, l, owner)
	if err == nil && may {
		may, err = s.Login.Ledger.MayLetIn(ctx, tx, owner.ID)
	}
	if err != nil {
		return false, err
	}
	if !may {
		return false, s.decline(ctx, tx, m, l)
	}
	now := s.Login.Clock()
	link := ticket.Ticket{Kind: ticket.Unlock, AccountID: owner.ID, ExpiresAt: now.Add(UnlockLife + sendTime), Browser: l.Asker}
	return s.storeLink(ctx, tx, link, l, owner, linkData{Stamp: l.Stamp, Code: secret.NewTyped(codeSymbols)}, l.event(audit.UnlockAsked, owner, now))
}

// event returns the audit event that records the request for the mail.
func (l letter) event(kind audit.Kind, owner account.Account, now time.Time) audit.Event {
	return audit.Event{At: now, AccountID: owner.ID, Actor: audit.ByOwner, Kind: kind, Address: l.Address, Browser: l.Browser}
}

// storeLink stores a requested link, or renews it, and reports whether its mail is to be sent. If
// the link is new, storeLink counts it against the account's mails of the day and records the event.
func (s *Service) storeLink(ctx context.Context, tx *db.Tx, link ticket.Ticket, l letter, owner account.Account, d linkData, event audit.Event) (bool, error) {
	isNew, err := ticket.Mail(ctx, tx, s.Login.Ring, link, secret.NewText(l.Token), d.encode(), event.At)
	if err != nil || !isNew {
		return err == nil, err
	}
	if may, err := s.spend(ctx, tx, link.Kind, owner.ID, l); err != nil {
		return false, err
	} else if !may {
		return false, ErrMoot // the link isn't stored
	}
	return true, s.Login.Journal.Record(ctx, tx, event)
}
