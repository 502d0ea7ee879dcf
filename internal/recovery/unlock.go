package recovery

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

const (
	// UnlockLife is how long a link that lets a browser in works after its mail is sent. It is
	// short, since the owner waits for the mail.
	UnlockLife = 15 * time.Minute

	// codeSymbols is the length of the code that a link shows when it is opened in another browser
	// than the one that asked: 40 bits, short enough to read on a phone and type.
	codeSymbols = 8
)

// Errors about links that let a browser in.
var (
	// ErrOtherBrowser means that another browser asked for the link.
	ErrOtherBrowser = errors.New("another browser asked for the link")
	// ErrWrongCode means that the browser asked for no valid link that has the typed code.
	ErrWrongCode = errors.New("no link has that code")
)

// AskUnlock requests a mail with a link that lets the browser try passwords of an account while the
// account is shielded, which means that only known browsers may try. The link is bound to asker, the
// secret in the browser's cookie. Like [Service.AskReset], AskUnlock doesn't reveal whether the
// account exists, and it returns the same errors. At most three mails a day are sent, and only while
// the account is shielded.
func (s *Service) AskUnlock(ctx context.Context, typed, asker string, from login.Browser) error {
	return s.ask(ctx, mail.Unlock, typed, asker, from)
}

// OpenUnlock returns the account of the link with this token. If another browser asked for the link,
// OpenUnlock also returns the code that the user can type in that browser. It changes nothing. It
// returns [ticket.ErrInvalid] if the link isn't valid.
func (s *Service) OpenUnlock(ctx context.Context, token, asker string) (owner account.Account, code string, err error) {
	link, owner, d, err := s.open(ctx, s.Login.DB.Reader(), token, ticket.Unlock)
	if err == nil && !isAsker(link, asker) {
		code = d.Code[:codeSymbols/2] + "-" + d.Code[codeSymbols/2:]
	}
	return owner, code, err
}

// isAsker reports whether the browser with this cookie asked for the link.
func isAsker(link ticket.Ticket, asker string) bool {
	return asker != "" && subtle.ConstantTimeCompare(secret.Hash(asker), link.Browser) == 1
}

// Unlock redeems the link with this token in the browser that asked for it. Then the browser may
// try passwords of the account; see [device.LetIn]. Unlock returns the new value of the device
// cookie. It opens no session and refills no budget. It returns [ticket.ErrInvalid] or
// [ErrOtherBrowser].
func (s *Service) Unlock(ctx context.Context, token, asker string, from login.Browser) (cookie secret.Text, owner account.Account, err error) {
	link, owner, _, err := s.open(ctx, s.Login.DB.Reader(), token, ticket.Unlock)
	if err == nil && !isAsker(link, asker) {
		err = ErrOtherBrowser
	}
	if err != nil {
		return cookie, owner, err
	}
	return s.letIn(ctx, link, throttle.Reservation{}, from)
}

// UnlockByCode is [Service.Unlock] for a code that [Service.OpenUnlock] returned in another browser.
// Each link allows three codes. UnlockByCode returns [ErrWrongCode] for a wrong code, for every code
// after the third, and if the browser asked for an account that doesn't exist, each time after the
// same work. It returns a [*login.WaitError] after too many codes from the browser's network.
func (s *Service) UnlockByCode(ctx context.Context, asker, typed string, from login.Browser) (cookie secret.Text, owner account.Account, err error) {
	code, ok := secret.NormalizeTyped(typed, codeSymbols)
	if !ok || asker == "" {
		return cookie, owner, ErrWrongCode
	}
	var links []ticket.Ticket
	reservation, verdict, err := s.Login.Ledger.ReserveFunc(ctx, func(tx *db.Tx) (tries []throttle.Try, err error) {
		links, err = ticket.TryCode(ctx, tx, secret.Hash(asker), s.Login.Clock())
		return throttle.PrefixTries(from.Address, ""), err // without an account, so that the tries for all accounts count together
	})
	if err == nil {
		err = s.Login.RefusalError(verdict)
	}
	if err != nil {
		return cookie, owner, err
	}
	for _, link := range links {
		d, err := s.dataOf(link)
		if err != nil {
			return cookie, owner, err
		}
		if subtle.ConstantTimeCompare([]byte(d.Code), []byte(code)) == 1 {
			cookie, owner, err := s.letIn(ctx, link, reservation, from)
			if errors.Is(err, ticket.ErrInvalid) {
				err = ErrWrongCode
			}
			return cookie, owner, err
		}
	}
	return cookie, owner, ErrWrongCode
}

// letIn redeems a link for the browser that asked for it. It gives back r, the reservation of the
// try that a code cost the browser's network. It returns [ticket.ErrInvalid] if the link isn't valid
// any more.
func (s *Service) letIn(ctx context.Context, link ticket.Ticket, r throttle.Reservation, from login.Browser) (cookie secret.Text, owner account.Account, err error) {
	err = s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := locked(ctx, tx, link.AccountID); errors.Is(err, ErrMoot) {
			return ticket.ErrInvalid
		} else if err != nil {
			return err
		}
		if owner, _, err = s.ownerOf(ctx, tx, link); err != nil {
			return err
		}
		event := from.Event(s.Login.Clock(), owner.ID, audit.Unlocked)
		if err := ticket.Redeem(ctx, tx, link, event.At); err != nil {
			return err
		}
		if cookie, err = device.LetIn(ctx, tx, owner.ID, from.AsDevice(), event.At); err != nil {
			return err
		}
		if err := throttle.GiveBack(ctx, tx, r); err != nil {
			return err
		}
		return s.Login.Journal.Record(ctx, tx, event)
	})
	return cookie, owner, err
}
