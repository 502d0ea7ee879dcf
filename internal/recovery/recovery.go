package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Service mails links and redeems them. Callers set every field. It is safe for concurrent use.
type Service struct {
	Login     *login.Service
	PublicURL string // without a slash at its end; all links begin with it
	// HasMail reports whether mails are sent, as configured now.
	HasMail func() bool
}

// Errors that callers answer with a page, besides those of packages login, password and ticket.
var (
	// ErrNoMail means that no mail is configured.
	ErrNoMail = errors.New("no mail is configured")
	// ErrMoot means that a message must not be sent: the account doesn't exist, isn't allowed to get
	// the message, or has changed so that the message is out of date.
	ErrMoot = errors.New("the mail is not to be sent")
)

// sendTime is how long a mail server may take to accept a mail. A link's life is longer by this time,
// since the link is stored before its mail is sent.
const sendTime = time.Minute

// letter is the body of an outbox message that becomes a mail with a link.
type letter struct {
	Token   string `json:"token"`
	Stamp   string `json:"stamp"` // the account's stamp at the request; a new stamp makes the link void
	At      int64  `json:"at"`    // Unix milliseconds
	Address string `json:"address,omitempty"`
	Browser string `json:"browser,omitempty"`
	Known   string `json:"known,omitempty"` // the id of the browser, if it is known to the account
	Asker   []byte `json:"asker,omitempty"` // of an unlock: SHA-256 of the browser's cookie
}

func (l letter) encode() []byte {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and a number
	}
	return text
}

func decode(body []byte) (l letter, err error) {
	if err := json.Unmarshal(body, &l); err != nil {
		return l, fmt.Errorf("read a mail with a link: %w", err)
	}
	return l, nil
}

// IsLink reports whether messages with this topic are mails with a link, for [Service.Prepare].
func IsLink(topic string) bool {
	for _, k := range mail.LinkKinds() {
		if topic == string(k) {
			return true
		}
	}
	return false
}

// GaveUp records that the server gave a message up. It ignores messages for names that don't
// exist, which are stored only so that the answer takes the same time.
func (s *Service) GaveUp(ctx context.Context, tx *db.Tx, m outbox.Message, why error, now time.Time) error {
	if IsLink(m.Topic) && login.IsUnknownName(m.AccountID) {
		return nil
	}
	return s.Login.Journal.GaveUp(ctx, tx, m, why, now)
}

// admit counts a request for a mail against the limits on the browser's network. It counts by the
// typed text and not by the account: otherwise the limits would reveal which name and which address
// belong to the same account. It returns a [*login.WaitError] if too many requests came from the
// network.
func (s *Service) admit(ctx context.Context, typed string, from login.Browser) error {
	tries := throttle.PrefixTries(from.Address, s.Login.LedgerID(account.Account{}, typed))
	if len(tries) == 0 {
		return nil
	}
	_, verdict, err := s.Login.Ledger.Reserve(ctx, tries...)
	if err != nil {
		return err
	}
	return s.Login.RefusalError(verdict)
}

// spend counts a mail against the account's daily limit for the kind, and reports whether the mail
// may be sent. Each known browser of the account has a limit of its own, so that strangers can't use
// up the owner's. The account's row must be locked.
func (s *Service) spend(ctx context.Context, tx *db.Tx, kind ticket.Kind, accountID string, l letter) (bool, error) {
	key := throttle.Key{Account: accountID, Bucket: throttle.Recovery, Subject: l.Known}
	if kind != ticket.Reset {
		key.Subject = string(kind) + "/" + l.Known
	}
	verdict, err := s.Login.Ledger.Spend(ctx, tx, throttle.Try{Key: key, Units: 1})
	return err == nil && s.Login.RefusalError(verdict) == nil, err
}

// ask stores a message for the account whose name or address a stranger typed; it becomes a mail
// with a link. For a name that doesn't exist, ask does the same work. The parameter asker is the
// cookie of a browser that asks to be let in.
func (s *Service) ask(ctx context.Context, kind mail.LinkKind, typed, asker string, from login.Browser) error {
	if !s.HasMail() {
		return ErrNoMail
	}
	owner, err := s.byName(ctx, typed)
	if err != nil {
		return err
	}
	if err := s.admit(ctx, typed, from); err != nil {
		return err
	}
	event := from.Event(s.Login.Clock(), s.Login.LedgerID(owner, typed), "")
	known, err := device.ByCookie(ctx, s.Login.DB.Reader(), from.Device, owner.ID, event.At)
	if err != nil {
		return err
	}
	stamp := owner.Stamp
	if stamp == "" {
		stamp = secret.NewID()
	}
	l := letter{Token: secret.NewToken().Reveal(), Stamp: stamp, At: event.At.UnixMilli(), Address: event.Address, Browser: event.Browser, Known: known.ID}
	if asker != "" {
		l.Asker = secret.Hash(asker)
	}
	m := outbox.Message{Kind: outbox.Mail, AccountID: event.AccountID, Address: owner.Email, Topic: string(kind), Body: l.encode(), Urgent: true, Brief: true}
	return s.Login.DB.Write(ctx, func(tx *db.Tx) error { return outbox.Add(ctx, tx, s.Login.Ring, m, event.At) })
}

// byName returns the account with the typed name or address, or the zero account.
func (s *Service) byName(ctx context.Context, typed string) (account.Account, error) {
	return account.ForMail(ctx, s.Login.DB.Reader(), typed)
}
