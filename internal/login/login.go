package login

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/journal"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Service signs accounts in. In memory it keeps only the number of failures in the current hour.
// Callers set every exported field; only Journal and Metrics may stay empty. A Service is safe for
// concurrent use.
type Service struct {
	DB        *db.DB
	Ring      *secret.Ring
	Ledger    *throttle.Ledger
	Queue     *throttle.Queue
	Mark      *clock.Mark // high-water mark of time; codes are refused while the clock is behind it
	Watch     *clock.Watch
	Clock     func() time.Time
	Life      session.Life
	Passwords secret.Argon2id // cost parameters for passwords and backup codes
	MinRunes  int             // minimum length of a new password
	Issuer    string          // the site's name that authenticator apps show

	Journal journal.Journal // the zero Journal sends no notices
	Metrics Metrics         // may be empty

	failures failures
}

// Browser describes the client of a request.
type Browser struct {
	Address   netip.Addr
	UserAgent string // printable text of limited length
	Device    string // value of its device cookie (see package device), or empty
	Session   string // token of the session that the browser holds, or empty
}

func (b Browser) session() session.Browser {
	return session.Browser{Address: b.address(), UserAgent: b.UserAgent}
}

// AsDevice returns what is stored about the browser when it becomes known.
func (b Browser) AsDevice() device.Browser {
	return device.Browser{Cookie: b.Device, Address: b.address(), UserAgent: b.UserAgent}
}

func (b Browser) address() string {
	if !b.Address.IsValid() {
		return ""
	}
	return b.Address.String()
}

// Event returns an audit event about something that the account's owner does in this browser.
func (b Browser) Event(now time.Time, accountID string, kind audit.Kind) audit.Event {
	return audit.Event{At: now, AccountID: accountID, Actor: audit.ByOwner, Kind: kind, Address: b.address(), Browser: b.UserAgent}
}

// Me is the owner who makes a change: a live session, its account, and the browser that
// holds the session's token. The route's access check has already passed.
type Me struct {
	Session session.Session
	Account account.Account
	From    Browser
}

// Errors that callers answer with a page. Any other error means that the request was not
// carried out: status 503.
var (
	// ErrRejected means that the credential was wrong. Before a right password it carries no
	// reason; after a right password the error may be a [CodeError].
	ErrRejected = errors.New("credential rejected")
	// ErrWrongPassword means that the password of a signed-in user was wrong. It wraps
	// ErrRejected.
	ErrWrongPassword = fmt.Errorf("%w: password", ErrRejected)
	// ErrNoAttempt means that the attempt doesn't exist, has expired or was cancelled, or that the
	// account has changed since the attempt began. The user has to start again.
	ErrNoAttempt = errors.New("no such sign-in is under way")
	// ErrNeedTwoCodes means that single codes aren't verified now, but two in a row are.
	ErrNeedTwoCodes = errors.New("two codes in a row are needed")
	// ErrNoMoreCodes means that no codes of authenticators are verified now. The user can use a
	// backup code or ask the operator.
	ErrNoMoreCodes = errors.New("no more codes are accepted for now")
	// ErrNoTOTP means that the account has no TOTP authenticator. The code was not verified and
	// cost no try. A backup code still works.
	ErrNoTOTP = errors.New("account has no authenticator that shows codes")
	// ErrClock means that no code is verified, because the server's clock is behind an
	// earlier time or far from the database's (F7). A backup code still works.
	ErrClock = errors.New("this server's clock is wrong")
	// ErrShielded means that, after many wrong passwords, only known browsers may try passwords. A
	// let-in link makes a browser known.
	ErrShielded = errors.New("only known browsers may try passwords of this account now")
	// ErrEnded means that this wrong code was one too many. Another person seems to have the
	// password, so all attempts of the account were ended.
	ErrEnded = errors.New("too many wrong codes ended every sign-in under way")
	// ErrGone means that what was to be changed doesn't exist or belongs to another account, or
	// that the session has ended or got a new token.
	ErrGone = errors.New("there is nothing to change")
	// ErrSamePassword means that the new password equals the current one.
	ErrSamePassword = errors.New("new password is the old one")
	// ErrPasswordEnded means that the password was right but is suspect, and that the account
	// has no second authenticator. To set a new password, the user needs a link from an operator.
	ErrPasswordEnded = errors.New("password is suspect and isn't enough by itself")
)

// WaitError means that the request was not carried out because of a limit, and says when to try
// again.
type WaitError struct {
	RetryAfter time.Duration
	Change     bool // the limit is on changes; otherwise it is on tries
}

func (e *WaitError) Error() string { return fmt.Sprintf("try again in %v", e.RetryAfter) }

// CodeError is a rejected code with its reason, which is shown only after a right password. It
// wraps [ErrRejected].
type CodeError struct {
	Malformed bool // no authenticator has such codes; the code was not compared and cost no try
	Pair      bool // the user gave two consecutive codes
	Result    totp.Result
	Minutes   int        // see [totp.Result]
	Format    CodeFormat // of the account's codes
}

func (e *CodeError) Error() string { return "code rejected" }

// Unwrap returns [ErrRejected].
func (e *CodeError) Unwrap() error { return ErrRejected }

// ErrMalformedBackupCode means that the text can't be a backup code. It was not compared and cost
// no try. It wraps [ErrRejected].
var ErrMalformedBackupCode = fmt.Errorf("%w: not the shape of a backup code", ErrRejected)

// unknownNameBits is how many bits of the HMAC of an unknown name choose its ledger row. All such
// names share 2¹⁶ rows, so that they can't fill the table.
const unknownNameBits = 16

// LedgerID returns the account id under which the ledger counts the tries for a name. It is owner's
// id, or, if owner is the zero account, an id that is computed from the typed name.
func (s *Service) LedgerID(owner account.Account, typed string) string {
	if owner.ID != "" {
		return owner.ID
	}
	return unknownNameID(s.Ring, typed)
}

// unknownPrefix begins the ids that stand for unknown names. Such an id is never an account's,
// since ids of accounts have another length.
const unknownPrefix = "nobody-"

// IsUnknownName reports whether [Service.LedgerID] returned the id for a name that doesn't exist.
func IsUnknownName(ledgerID string) bool {
	return len(ledgerID) == len(unknownPrefix)+unknownNameBits/4 && strings.HasPrefix(ledgerID, unknownPrefix)
}

// unknownNameID returns the account id under which the ledger counts tries for a name that doesn't
// exist. Without the key ring, a client can't compute which names share a row.
func unknownNameID(ring *secret.Ring, typed string) string {
	name, err := account.NormalizeName(typed)
	if err != nil {
		if _, name, err = account.NormalizeEmail(typed); err != nil {
			name = ""
		}
	}
	return unknownPrefix + hex.EncodeToString(ring.MAC("name", name)[:unknownNameBits/8])
}

// passwordResult is the result of comparing a password.
type passwordResult struct {
	password.Outcome
	place       string               // see [Attempt.Place]
	known       device.Device        // the browser that sent it, if known or let in by mail; otherwise zero
	reservation throttle.Reservation // to be given back if the password matched
	rehashed    secret.Text          // after a match with a weak hash: the stronger hash to store
}

// decoyID returns an account id that doesn't exist, for the password query of an unknown name. The
// id is derived from the name, so that the query always reads the same random place of the index,
// as the query for a real account does.
func decoyID(ring *secret.Ring, ledgerID string) string {
	const idBytes = 15 // as in [secret.NewID]
	return base64.RawURLEncoding.EncodeToString(ring.MAC("stand-in", ledgerID)[:idBytes])
}

// tryPassword compares typed with the password of owner. For an unknown name, owner is the zero
// account, and ledgerID names the budget. The order is: check the ledger, wait in the hashing
// queue, reserve, verify. A known browser of the account has its own budget, so that tries from
// elsewhere can't use up the owner's. All browsers that were let in by mail share one budget.
func (s *Service) tryPassword(ctx context.Context, ledgerID string, owner account.Account, typed string, from Browser) (passwordResult, error) {
	accountID := owner.ID

	known, err := device.ByCookieOrLetIn(ctx, s.DB.Reader(), from.Device, accountID, s.Clock())
	if err != nil {
		return passwordResult{}, err
	}
	tries := passwordTries(ledgerID, known, from)
	if verdict, err := s.Ledger.Peek(ctx, tries...); err != nil {
		return passwordResult{}, err
	} else if err := s.RefusalError(verdict); err != nil {
		return passwordResult{}, err
	}
	release, err := s.acquireSlot(ctx, placeOf(ledgerID, known, from))
	if err != nil {
		return passwordResult{}, err
	}
	matched := false
	defer func() { release(matched) }()
	reservation, verdict, err := s.Ledger.Reserve(ctx, tries...)
	if err != nil {
		return passwordResult{}, err
	}
	if err := s.RefusalError(verdict); err != nil {
		return passwordResult{}, err
	}
	hashedAs := accountID
	if hashedAs == "" {
		hashedAs = decoyID(s.Ring, ledgerID)
	}
	outcome, err := password.Verify(ctx, s.DB.Reader(), s.Ring, s.Passwords, hashedAs, typed)
	if err != nil {
		return passwordResult{}, err
	}
	matched = outcome.Match
	v := passwordResult{Outcome: outcome, place: known.ID, known: known, reservation: reservation}
	if v.place == "" {
		v.place = throttle.WidePrefixOf(from.Address)
	}
	// A disabled account must not take longer than a wrong password does.
	if outcome.Weak && !owner.Disabled() {
		if v.rehashed, err = password.Hash(s.Passwords, typed); err != nil {
			return passwordResult{}, err
		}
	}
	return v, nil
}

// passwordTries returns the tries that a password counts as. known is the browser that sent the
// password, if it is known or was let in by mail, and otherwise zero.
func passwordTries(ledgerID string, known device.Device, from Browser) []throttle.Try {
	try := throttle.Try{Key: throttle.Key{Account: ledgerID, Bucket: throttle.PasswordUnknownDevice}, Units: 1}
	switch {
	case known.IsLetIn:
		try.Subject = throttle.LetIn
	case known.ID != "":
		try.Bucket, try.Subject = throttle.PasswordKnownDevice, known.ID
	default:
		return append([]throttle.Try{try}, throttle.PrefixTries(from.Address, ledgerID)...)
	}
	return []throttle.Try{try}
}

// VerifyPassword compares typed with the password of a signed-in owner. Tries count against the
// same budget as at sign-in. If the password is wrong, VerifyPassword records that and returns
// [ErrWrongPassword]. If it is right, the caller must give the reservation back: in the transaction
// of the change that the password allows, or with [Service.GiveBack] if the change fails.
func (s *Service) VerifyPassword(ctx context.Context, me Me, typed string) (throttle.Reservation, error) {
	v, err := s.verifyPassword(ctx, me, typed)
	return v.reservation, err
}

func (s *Service) verifyPassword(ctx context.Context, me Me, typed string) (passwordResult, error) {
	v, err := s.tryPassword(ctx, me.Account.ID, me.Account, typed, me.From)
	if err != nil {
		return passwordResult{}, err
	}
	if !v.Match {
		ctx, done := detached(ctx)
		defer done()
		if err := s.recordFailure(ctx, me.From.Event(s.Clock(), me.Account.ID, audit.SignInFailed), v.known, me.From); err != nil {
			return passwordResult{}, err
		}
		return passwordResult{}, ErrWrongPassword
	}
	return v, nil
}

// settle gives back the reservation of a right password and stores its stronger hash, if
// there is one.
func settle(ctx context.Context, tx *db.Tx, ring *secret.Ring, accountID string, v passwordResult) error {
	if v.Weak {
		if err := password.Rehash(ctx, tx, ring, accountID, v.Outcome, v.rehashed); err != nil {
			return err
		}
	}
	return throttle.GiveBack(ctx, tx, v.reservation)
}

// settleDetached is settle in its own transaction, even if the client has disconnected.
func (s *Service) settleDetached(ctx context.Context, accountID string, v passwordResult) error {
	ctx, done := detached(ctx)
	defer done()
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := lockAccount(ctx, tx, accountID); err != nil {
			return err
		}
		return settle(ctx, tx, s.Ring, accountID, v)
	})
}

// RefusalError returns the error for a verdict of the ledger, or nil for [throttle.Allow]. It
// counts every other verdict in the metrics.
func (s *Service) RefusalError(v throttle.Verdict) error {
	if v.Answer != throttle.Allow {
		s.Metrics.countRefusal(v.Bucket)
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
