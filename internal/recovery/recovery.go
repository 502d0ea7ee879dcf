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
)

// Service answers requests for help. Callers set every field. It is safe for concurrent use.
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
	// ErrMoot means that a message must not be sent: there is no such account, or it may not
	// get it, or what it is about has changed since.
	ErrMoot = errors.New("the mail is not to be sent")
)

// sendTime is how long a mail server may take to accept a mail. Links are stored before that.
const sendTime = time.Minute

// letter is what the outbox stores of a mail with a link.
type letter struct {
	Token   string `json:"token"`
	Stamp   string `json:"stamp"` // of the account when it was asked for; the link dies with it
	At      int64  `json:"at"`    // Unix milliseconds
	Address string `json:"address,omitempty"`
	Browser string `json:"browser,omitempty"`
	Known   string `json:"known,omitempty"` // the id of the browser, if the account knows it
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

// GaveUp records that the server gave a message up, unless it was stored for a name that doesn't
// exist, only so that it takes the same time as another.
func (s *Service) GaveUp(ctx context.Context, tx *db.Tx, m outbox.Message, why error, now time.Time) error {
	if IsLink(m.Topic) && login.IsUnknownName(m.AccountID) {
		return nil
	}
	return s.Login.Journal.GaveUp(ctx, tx, m, why, now)
}

// admit counts a request for a mail against the browser's network. What it counts depends on the
// text that was typed and not on the accounts that exist: otherwise a stranger could learn from
// the limits which name and which address belong to one account. It returns a [*login.WaitError]
// if too many requests came from the network.
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

// spend counts a mail against those that the account gets in a day, and reports whether it may be
// sent. A browser that the account knows has mails of its own, so that strangers can't use up the
// owner's. The account's row is locked.
func (s *Service) spend(ctx context.Context, tx *db.Tx, owner account.Account, l letter) (bool, error) {
	key := throttle.Key{Account: owner.ID, Bucket: throttle.Recovery, Subject: l.Known}
	verdict, err := s.Login.Ledger.Spend(ctx, tx, throttle.Try{Key: key, Units: 1})
	return err == nil && s.Login.RefusalError(verdict) == nil, err
}

// ask stores a mail with a link to the owner of an account. It does the same work for the zero
// account, which stands for a name that doesn't exist.
func (s *Service) ask(ctx context.Context, kind mail.LinkKind, ledgerID string, owner account.Account, from login.Browser) error {
	event := from.Event(s.Login.Clock(), ledgerID, "")
	known, err := device.ByCookie(ctx, s.Login.DB.Reader(), from.Device, owner.ID, event.At)
	if err != nil {
		return err
	}
	stamp := owner.Stamp
	if stamp == "" {
		stamp = secret.NewID()
	}
	l := letter{Token: secret.NewToken().Reveal(), Stamp: stamp, At: event.At.UnixMilli(), Address: event.Address, Browser: event.Browser, Known: known.ID}
	m := outbox.Message{Kind: outbox.Mail, AccountID: ledgerID, Address: owner.Email, Topic: string(kind), Body: l.encode(), Urgent: true, Brief: true}
	return s.Login.DB.Write(ctx, func(tx *db.Tx) error { return outbox.Add(ctx, tx, s.Login.Ring, m, event.At) })
}

// byName returns the account with a name or address, or the zero account.
func (s *Service) byName(ctx context.Context, typed string) (account.Account, error) {
	return account.ForMail(ctx, s.Login.DB.Reader(), typed)
}
