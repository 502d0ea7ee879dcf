package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

const (
	// VerifyLife is how long a link that confirms an address works.
	VerifyLife = 24 * time.Hour
	// UndoLife is how long the owner of a former address can restore it. It covers a weekend.
	UndoLife = 72 * time.Hour
)

// ErrOtherAddress means that the typed address isn't the one that the link restores.
var ErrOtherAddress = errors.New("another address was typed")

// linkData is what is stored with a link.
type linkData struct {
	Stamp string `json:"stamp,omitempty"` // if set, the link is valid only while the account has this stamp
	Email string `json:"email,omitempty"` // the address to confirm or to restore
	Code  string `json:"code,omitempty"`  // of an unlock: what the user can type in the browser that asked
}

func (d linkData) encode() []byte {
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings
	}
	return text
}

func (s *Service) dataOf(t ticket.Ticket) (d linkData, err error) {
	text, err := t.Data(s.Login.Ring)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		return d, fmt.Errorf("read the data of a link: %w", err)
	}
	return d, nil
}

// AskEmail mails a link to the new address that the owner typed, with which the owner confirms that
// address. If another account has the address, only the link's page says so. AskEmail returns
// [ErrNoMail], [account.ErrEmailInvalid], [login.ErrGone], or a [*login.WaitError] after three
// mails in a day.
func (s *Service) AskEmail(ctx context.Context, me login.Me, typed string) error {
	address, _, err := account.NormalizeEmail(typed)
	if err == nil && address == "" {
		err = account.ErrEmailInvalid
	}
	if err != nil {
		return err
	}
	if !s.HasMail() {
		return ErrNoMail
	}
	return s.withOwner(ctx, me, func(tx *db.Tx, me login.Me) error {
		try := throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.Recovery, Subject: string(mail.VerifyEmail)}, Units: 1}
		verdict, err := s.Login.Ledger.Spend(ctx, tx, try)
		if err != nil {
			return err
		}
		if err := s.Login.RefusalError(verdict); err != nil {
			return err
		}
		event := me.From.Event(s.Login.Clock(), me.Account.ID, audit.EmailAsked)
		return s.mailVerification(ctx, tx, me.Account, address, event)
	})
}

// SendVerification mails a link to the account's address, with which the owner confirms that
// address. It is for operators. It returns [ErrNoMail], [account.ErrDisabled], or
// [account.ErrEmailInvalid] if the account has no address.
func (s *Service) SendVerification(ctx context.Context, a account.Account) error {
	if !s.HasMail() {
		return ErrNoMail
	}
	return s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		owner, err := locked(ctx, tx, a.ID)
		if errors.Is(err, ErrMoot) {
			err = db.ErrNotFound
		}
		if err != nil {
			return err
		}
		if owner.Email == "" {
			return account.ErrEmailInvalid
		}
		return s.mailVerification(ctx, tx, owner, owner.Email, audit.Event{At: s.Login.Clock(), AccountID: owner.ID, Actor: audit.ByOperator, Kind: audit.EmailAsked})
	})
}

// mailVerification stores a link that confirms an address, the link's mail, and the event. It stores
// the link before the mail is due, so that a change that ends such links also ends one whose mail
// still waits.
func (s *Service) mailVerification(ctx context.Context, tx *db.Tx, owner account.Account, address string, e audit.Event) error {
	l := letter{Token: secret.NewToken().Reveal(), Stamp: owner.Stamp, At: e.At.UnixMilli(), Address: e.Address, Browser: e.Browser}
	m := outbox.Message{Kind: outbox.Mail, AccountID: owner.ID, Address: address, Topic: string(mail.VerifyEmail), Body: l.encode(), Urgent: true}
	if stored, err := s.storeVerification(ctx, tx, m, l, owner); err != nil {
		return err
	} else if !stored {
		return account.ErrDisabled
	}
	if err := outbox.Add(ctx, tx, s.Login.Ring, m, e.At); err != nil {
		return err
	}
	return s.Login.Journal.Record(ctx, tx, e)
}

// AddressRefused marks the account's address as refused by the mail server, and records the
// event. It has no effect if the address is marked already, or if the account has another address
// by now.
func (s *Service) AddressRefused(ctx context.Context, accountID, address string) error {
	return s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Login.Clock()
		isNews, err := account.SetEmailRefused(ctx, tx, accountID, address, now)
		if err != nil || !isNews {
			return err
		}
		return s.Login.Journal.Record(ctx, tx, audit.Event{At: now, AccountID: accountID, Actor: audit.ByServer, Kind: audit.EmailRefused})
	})
}

// withOwner runs the function change in a transaction that has locked the account's row. It passes
// the session and the account, as read in that transaction, to change. It returns [login.ErrGone] if
// the session has ended.
func (s *Service) withOwner(ctx context.Context, me login.Me, change func(tx *db.Tx, me login.Me) error) error {
	err := s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, me.Account.ID); err != nil {
			return err
		}
		held, owner, err := session.ByToken(ctx, tx, me.From.Session, s.Login.Life, s.Login.Clock())
		if err != nil {
			return err
		}
		return change(tx, login.Me{Session: held, Account: owner, From: me.From})
	})
	if errors.Is(err, db.ErrNotFound) {
		err = login.ErrGone
	}
	return err
}

// storeVerification stores the link that confirms an address, or renews the link's life, and reports
// whether the link is still of use to the account.
func (s *Service) storeVerification(ctx context.Context, tx *db.Tx, m outbox.Message, l letter, owner account.Account) (bool, error) {
	if owner.Disabled() || owner.Stamp != l.Stamp {
		return false, nil
	}
	now := s.Login.Clock()
	link := ticket.Ticket{Kind: ticket.VerifyEmail, AccountID: owner.ID, ExpiresAt: now.Add(VerifyLife + sendTime)}
	_, err := ticket.Mail(ctx, tx, s.Login.Ring, link, secret.NewText(l.Token), linkData{Stamp: owner.Stamp, Email: m.Address}.encode(), now)
	return err == nil, err
}

// OpenVerification returns the address that the link with this token confirms for the owner. It
// only reads. It returns [ticket.ErrInvalid] if the link isn't valid, or is another account's.
func (s *Service) OpenVerification(ctx context.Context, me login.Me, token string) (string, error) {
	_, d, err := s.verification(ctx, s.Login.DB.Reader(), me.Account, token)
	return d.Email, err
}

func (s *Service) verification(ctx context.Context, q db.Querier, owner account.Account, token string) (ticket.Ticket, linkData, error) {
	link, err := ticket.ByToken(ctx, q, token, s.Login.Clock())
	if err != nil {
		return link, linkData{}, err
	}
	if link.Kind != ticket.VerifyEmail || link.AccountID != owner.ID {
		return link, linkData{}, ticket.ErrInvalid
	}
	d, err := s.dataOf(link)
	if err == nil && d.Stamp != owner.Stamp {
		err = ticket.ErrInvalid
	}
	return link, d, err
}

// Verify redeems the link with this token in a session of its account: the link's address becomes
// the account's, and counts as confirmed. If the account had another address that was confirmed, the
// former address gets a link to undo the change, unless an earlier undo link is still valid: in that
// case a thief may have confirmed the former address, and the owner is taking the account back.
// Verify returns [ticket.ErrInvalid], [account.ErrEmailTaken] or [login.ErrGone].
func (s *Service) Verify(ctx context.Context, me login.Me, token string) error {
	return s.withOwner(ctx, me, func(tx *db.Tx, me login.Me) error {
		owner := me.Account
		link, d, err := s.verification(ctx, tx, owner, token)
		if err != nil {
			return err
		}
		event := me.From.Event(s.Login.Clock(), owner.ID, audit.EmailVerified)
		if err := ticket.Redeem(ctx, tx, link, event.At); err != nil {
			return err
		}
		facts := notice.Facts{}
		if d.Email != owner.Email {
			event.Kind, facts.FormerEmail = audit.EmailChanged, owner.Email
			if err := account.SetEmail(ctx, tx, owner.ID, d.Email); err != nil {
				return err
			}
			if err := login.EndMailedLinks(ctx, tx, owner.ID); err != nil {
				return err
			}
			if facts.FormerTold, err = s.offerUndo(ctx, tx, owner, event); err != nil {
				return err
			}
		}
		if err := account.SetEmailVerified(ctx, tx, owner.ID, event.At); err != nil {
			return err
		}
		return s.Login.Journal.RecordWith(ctx, tx, event, facts)
	})
}

// offerUndo stores the link that restores the former address, and the link's mail, which also tells
// the owner about the change. It reports whether the former address gets such a mail.
func (s *Service) offerUndo(ctx context.Context, tx *db.Tx, before account.Account, e audit.Event) (bool, error) {
	if !before.EmailReachesOwner() {
		return false, nil
	}
	offered, err := ticket.Exists(ctx, tx, ticket.UndoEmail, before.ID, e.At)
	if err != nil || offered {
		return false, err
	}
	l := letter{Token: secret.NewToken().Reveal(), At: e.At.UnixMilli(), Address: e.Address, Browser: e.Browser}
	m := outbox.Message{Kind: outbox.Mail, AccountID: before.ID, Address: before.Email, Topic: string(mail.UndoEmail), Body: l.encode(), Urgent: true}
	if _, err := s.storeUndo(ctx, tx, m, l); err != nil {
		return false, err
	}
	return true, outbox.Add(ctx, tx, s.Login.Ring, m, e.At)
}

// storeUndo stores the link that restores the address to which its mail goes.
func (s *Service) storeUndo(ctx context.Context, tx *db.Tx, m outbox.Message, l letter) (bool, error) {
	now := s.Login.Clock()
	link := ticket.Ticket{Kind: ticket.UndoEmail, AccountID: m.AccountID, ExpiresAt: now.Add(UndoLife + sendTime)}
	_, err := ticket.Mail(ctx, tx, s.Login.Ring, link, secret.NewText(l.Token), linkData{Email: m.Address}.encode(), now)
	return err == nil, err
}

// OpenUndo returns the account whose former address the link with this token restores. It only
// reads. It returns [ticket.ErrInvalid] if the link isn't valid.
func (s *Service) OpenUndo(ctx context.Context, token string) (account.Account, error) {
	_, owner, _, err := s.undo(ctx, s.Login.DB.Reader(), token)
	return owner, err
}

func (s *Service) undo(ctx context.Context, q db.Querier, token string) (ticket.Ticket, account.Account, linkData, error) {
	link, err := ticket.ByToken(ctx, q, token, s.Login.Clock())
	if err == nil && link.Kind != ticket.UndoEmail {
		err = ticket.ErrInvalid
	}
	if err != nil {
		return link, account.Account{}, linkData{}, err
	}
	owner, err := account.ByID(ctx, q, link.AccountID)
	if errors.Is(err, db.ErrNotFound) || err == nil && owner.Disabled() {
		err = ticket.ErrInvalid
	}
	if err != nil {
		return link, owner, linkData{}, err
	}
	d, err := s.dataOf(link)
	return link, owner, d, err
}

// Undo redeems the link with this token: the former address, which the owner typed, is the
// account's again, everything that could still act for the account ends, and the password becomes
// suspect. It opens no session. It returns [ticket.ErrInvalid], [ErrOtherAddress], or
// [account.ErrEmailTaken] if another account has the address by now.
func (s *Service) Undo(ctx context.Context, token, typed string, from login.Browser) error {
	_, folded, err := account.NormalizeEmail(typed)
	if err != nil {
		return ErrOtherAddress
	}
	owner, err := s.OpenUndo(ctx, token)
	if err != nil {
		return err
	}
	return s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := locked(ctx, tx, owner.ID); errors.Is(err, ErrMoot) {
			return ticket.ErrInvalid
		} else if err != nil {
			return err
		}
		link, owner, d, err := s.undo(ctx, tx, token)
		if err != nil {
			return err
		}
		if _, former, err := account.NormalizeEmail(d.Email); err != nil || former != folded {
			return errors.Join(ErrOtherAddress, err)
		}
		event := from.Event(s.Login.Clock(), owner.ID, audit.EmailRestored)
		if err := ticket.Redeem(ctx, tx, link, event.At); err != nil {
			return err
		}
		if _, err := login.EndOthers(ctx, tx, owner.ID, login.Spared{}); err != nil {
			return err
		}
		if _, err := ticket.Revoke(ctx, tx, ticket.UndoEmail, owner.ID); err != nil {
			return err
		}
		if err := account.SetEmail(ctx, tx, owner.ID, d.Email); err != nil {
			return err
		}
		if err := account.SetEmailVerified(ctx, tx, owner.ID, event.At); err != nil {
			return err
		}
		if _, err := password.MarkSuspect(ctx, tx, owner.ID, event.At); err != nil {
			return err
		}
		return s.Login.Journal.Record(ctx, tx, event)
	})
}
