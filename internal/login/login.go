package login

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Service signs accounts in and changes how they sign in. In memory it keeps only how
// many failures there were in this hour, and last uses that aren't written yet. Callers
// set every exported field; Metrics may be empty. It is safe for concurrent use.
type Service struct {
	DB         *db.DB
	Ring       *secret.Ring
	Ledger     *throttle.Ledger
	Queue      *throttle.Queue
	Mark       *clock.Mark // of the time behind which no code is taken
	Watch      *clock.Watch
	Admissions *Admissions // to panels, lately
	Clock      func() time.Time
	Life       session.Life
	Passwords  secret.Argon2id // cost of passwords and backup codes
	MinRunes   int             // of a new password
	Issuer     string          // the site's name in authenticator apps

	Metrics Metrics // may be empty

	uses     uses
	failures failures

	// EnrollByTicket asks everybody for an operator's link before the first
	// authenticator, not only those whom an operator reset.
	EnrollByTicket bool
}

// Browser is where a request came from, as the door saw it.
type Browser struct {
	Address   netip.Addr
	UserAgent string // printable and short
	Device    string // its device cookie, see package device, or empty
}

func (b Browser) session() session.Browser {
	return session.Browser{Address: b.address(), UserAgent: b.UserAgent}
}

func (b Browser) device() device.Browser {
	return device.Browser{Address: b.address(), UserAgent: b.UserAgent}
}

func (b Browser) address() string {
	if !b.Address.IsValid() {
		return ""
	}
	return b.Address.String()
}

// event is what happened to an account from this browser.
func (b Browser) event(now time.Time, accountID string, kind audit.Kind) audit.Event {
	return audit.Event{At: now, AccountID: accountID, Actor: audit.ByOwner, Kind: kind, Address: b.address(), Browser: b.UserAgent}
}

// Errors for a door to answer. Whatever else is returned means that the
// request was not carried out: 503.
var (
	// ErrRejected: the credential was wrong. Before a right password it says
	// nothing else; after one, see [CodeError].
	ErrRejected = errors.New("credential rejected")
	// ErrWrongPassword: the password of somebody who is signed in was wrong.
	// It is an ErrRejected.
	ErrWrongPassword = fmt.Errorf("%w: password", ErrRejected)
	// ErrNoAttempt: there is no such attempt, or it expired, was cancelled,
	// or the account changed since. Begin again.
	ErrNoAttempt = errors.New("no such sign-in is under way")
	// ErrNeedTwoCodes: a single code isn't looked at now; two in a row are.
	ErrNeedTwoCodes = errors.New("two codes in a row are needed")
	// ErrNoMoreCodes: no further codes are looked at now. A backup code or
	// the operator helps.
	ErrNoMoreCodes = errors.New("no more codes are accepted for now")
	// ErrClock: this server's clock is behind a time that was seen before, or far
	// from the database's, so no code is looked at (F7). A backup code helps.
	ErrClock = errors.New("this server's clock is wrong")
	// ErrShielded: there were so many wrong passwords that only known browsers
	// may try. A let-in link makes this one known.
	ErrShielded = errors.New("only known browsers may try passwords of this account now")
	// ErrEnded: the wrong codes show that somebody else has the password; every
	// sign-in under way was ended.
	ErrEnded = errors.New("too many wrong codes ended every sign-in under way")
	// ErrGone: what was to be changed isn't there, or isn't the account's.
	ErrGone = errors.New("there is nothing to change")
	// ErrSamePassword: the new password is the old one.
	ErrSamePassword = errors.New("new password is the old one")
	// ErrReplaced: the backup codes to be replaced were replaced already.
	ErrReplaced = errors.New("backup codes were replaced already")
	// ErrPasswordEnded: the password was right, but somebody else knows it, and the
	// account has no second authenticator. An operator's link sets a new one.
	ErrPasswordEnded = errors.New("password is suspect and isn't enough by itself")
	// ErrSuspect: first the password must be changed, since somebody else knows it.
	ErrSuspect = errors.New("the suspect password must be changed first")
	// ErrLocked: the wizard opens only through an operator's link.
	ErrLocked = errors.New("enrolment needs an administrator's link")
)

// WaitError says that nothing was verified, and when to try again.
type WaitError struct {
	RetryAfter time.Duration
	Change     bool // the account was changed too often; else too much was tried
}

func (e *WaitError) Error() string { return fmt.Sprintf("try again in %v", e.RetryAfter) }

// CodeError is a rejected code with an honest reason. It is given only after a
// right password. It is an [ErrRejected].
type CodeError struct {
	Malformed bool // it wasn't compared with anything, and cost nothing
	Pair      bool // two codes in a row were given
	Result    totp.Result
	Minutes   int // see [totp.Result]
}

func (e *CodeError) Error() string { return "code rejected" }

// Unwrap makes it an [ErrRejected].
func (e *CodeError) Unwrap() error { return ErrRejected }

// ErrMalformedBackupCode: it wasn't compared with anything, and cost nothing.
var ErrMalformedBackupCode = fmt.Errorf("%w: not the shape of a backup code", ErrRejected)

// nobodyBits of the HMAC of a name that doesn't exist choose its ledger row:
// such names share 2¹⁶ rows, so that they can't fill the table.
const nobodyBits = 16

// nobody returns the account id under which tries for a name that doesn't
// exist are kept. Without the key ring nobody can tell which names share one.
func (s *Service) nobody(typed string) string {
	name, err := account.NormalizeName(typed)
	if err != nil {
		if _, name, err = account.NormalizeEmail(typed); err != nil {
			name = ""
		}
	}
	return "nobody-" + hex.EncodeToString(s.Ring.MAC("name", name)[:nobodyBits/8])
}

// verified is a password that was compared.
type verified struct {
	password.Outcome
	place       string               // see [Attempt]
	known       device.Device        // that it was typed in; its id is empty for an unknown browser
	reservation throttle.Reservation // of a match: give it back
	rehashed    secret.Text          // of a weak match: store it
}

// standIn returns the id under which a name that doesn't exist looks for the work of
// its verification: anywhere among the accounts, and always there.
func (s *Service) standIn(ledgerID string) string {
	const idBytes = 15 // as [secret.NewID]
	return base64.RawURLEncoding.EncodeToString(s.Ring.MAC("stand-in", ledgerID)[:idBytes])
}

// tryPassword compares typed with the password of owner, which is the zero account
// where the name doesn't exist; ledgerID names the budget. The order is that of the
// ledger: look, queue, reserve, verify. A known browser of the account has a budget of
// its own, so that no stranger keeps the owner out.
func (s *Service) tryPassword(ctx context.Context, ledgerID string, owner account.Account, typed string, from Browser) (verified, error) {
	accountID := owner.ID

	known, err := device.ByCookie(ctx, s.DB.Reader(), from.Device, accountID, s.Clock())
	if err != nil {
		return verified{}, err
	}
	tries := []throttle.Try{{Key: throttle.Key{Account: ledgerID, Bucket: throttle.PasswordKnownDevice, Subject: known.ID}, Units: 1}}
	if known.ID == "" {
		tries[0].Bucket = throttle.PasswordUnknownDevice
		tries = append(tries, throttle.PrefixTries(from.Address, ledgerID)...)
	}
	if verdict, err := s.Ledger.Peek(ctx, tries...); err != nil {
		return verified{}, err
	} else if err := s.refusal(verdict); err != nil {
		return verified{}, err
	}
	leave, err := s.enter(ctx, ledgerID, known, from)
	if err != nil {
		return verified{}, err
	}
	matched := false
	defer func() { leave(matched) }()
	reservation, verdict, err := s.Ledger.Reserve(ctx, tries...)
	if err != nil {
		return verified{}, err
	}
	if err := s.refusal(verdict); err != nil {
		return verified{}, err
	}
	hashedAs := accountID
	if hashedAs == "" {
		hashedAs = s.standIn(ledgerID)
	}
	outcome, err := password.Verify(ctx, s.DB.Reader(), s.Ring, s.Passwords, hashedAs, typed)
	if err != nil {
		return verified{}, err
	}
	matched = outcome.Match
	v := verified{Outcome: outcome, place: known.ID, known: known, reservation: reservation}
	if v.place == "" {
		v.place = throttle.WidePrefixOf(from.Address)
	}
	// A disabled account takes no more work than a wrong password.
	if outcome.Weak && !owner.Disabled() {
		if v.rehashed, err = password.Hash(s.Passwords, typed); err != nil {
			return verified{}, err
		}
	}
	return v, nil
}

// settle gives back the reservation of a right password and stores a stronger
// hash of it.
func (s *Service) settle(ctx context.Context, tx *db.Tx, accountID string, v verified) error {
	if v.Weak {
		if err := password.Rehash(ctx, tx, s.Ring, accountID, v.rehashed); err != nil {
			return err
		}
	}
	return throttle.GiveBack(ctx, tx, v.reservation)
}

// settleAlone is settle in a transaction of its own, whether the client waits or not.
func (s *Service) settleAlone(ctx context.Context, accountID string, v verified) error {
	ctx, done := regardless(ctx)
	defer done()
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, accountID); err != nil {
			return err
		}
		return s.settle(ctx, tx, accountID, v)
	})
}

// refusal is the error for a verdict; nil allows. Others are counted.
func (s *Service) refusal(v throttle.Verdict) error {
	if v.Answer != throttle.Allow {
		s.Metrics.refused(v.Bucket)
	}
	switch v.Answer {
	case throttle.Allow:
		return nil
	case throttle.Wait:
		return &WaitError{RetryAfter: v.RetryAfter, Change: v.Bucket == throttle.Change}
	case throttle.NeedTwoCodes:
		return ErrNeedTwoCodes
	case throttle.Shielded:
		return ErrShielded
	default:
		return ErrNoMoreCodes
	}
}
