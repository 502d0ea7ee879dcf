package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Opened holds the new values of a browser's cookies after a completed attempt.
type Opened struct {
	Session secret.Text // the session's token
	Device  secret.Text // the device cookie's value; empty for a reauthentication
}

// Progress is the state of an attempt after an accepted credential.
type Progress struct {
	Opened    // at [StageDone]
	Stage     Stage
	Attempt   secret.Text // before [StageDone]: the attempt's new token
	ReturnURL string      // at [StageDone]: where to redirect, as CheckReturn returned it
	CodesLeft int         // after a backup code: how many are still unused; otherwise -1
	Username  string      // of the account, for the log
}

// Credentials are the fields of the sign-in form.
type Credentials struct {
	Username  string // a name or an email address
	Password  string
	ReturnURL string // unchecked
}

// SubmitPassword starts a sign-in. An unknown name, a disabled account and a wrong password
// all return [ErrRejected] after the same work (R27).
func (s *Service) SubmitPassword(ctx context.Context, given Credentials, from Browser) (Progress, error) {
	progress, err := s.submitPassword(ctx, given, from)
	s.Metrics.countPassword(progress, err)
	return progress, err
}

func (s *Service) submitPassword(ctx context.Context, given Credentials, from Browser) (Progress, error) {
	owner, err := account.ByName(ctx, s.DB.Reader(), given.Username)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return Progress{}, err
	}
	ledgerID := s.LedgerID(owner, given.Username)
	v, err := s.tryPassword(ctx, ledgerID, owner, given.Password, from)
	if err != nil {
		return Progress{}, err
	}
	ctx, done := detached(ctx)
	defer done()
	if !v.Match || owner.Disabled() {
		// Unknown names get an event too. Without it, the answer would come sooner, by the time that
		// a commit takes, and so tell a client that the name doesn't exist.
		if err := s.recordFailure(ctx, from.Event(s.Clock(), ledgerID, audit.SignInFailed), v.known, from); err != nil {
			return Progress{}, err
		}
		return Progress{}, ErrRejected
	}
	now := s.Clock()
	attempt := Attempt{
		AccountID: owner.ID, Stamp: owner.Stamp, Purpose: SignIn, Place: v.place, ReturnURL: CheckReturn(given.ReturnURL),
		Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: now}},
	}
	var progress Progress
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		locked, err := s.lockAccounts(ctx, tx, owner.ID, from)
		if err != nil {
			return err
		}
		if err := settle(ctx, tx, s.Ring, owner.ID, v); err != nil {
			return err
		}
		progress, err = s.advance(ctx, tx, attempt, locked, from)
		return err
	})
	if err != nil {
		// The rollback also undid the give-back, but the password was right.
		err = errors.Join(err, s.GiveBack(ctx, v.reservation))
	}
	if errors.Is(err, ErrPasswordEnded) {
		return Progress{}, errors.Join(err, s.recordFailure(ctx, from.Event(s.Clock(), owner.ID, audit.SignInFailed), v.known, from))
	}
	return progress, err
}

// stageOf reads the account's state through q and returns the stage of owner's attempt a. It
// returns [ErrNoAttempt] if the account changed since owner was read.
func stageOf(ctx context.Context, q db.Querier, a Attempt, owner account.Account) (Stage, error) {
	authenticators, err := authenticator.List(ctx, q, owner.ID)
	if err != nil {
		return StageFirst, err
	}
	if len(authenticators) == 0 && !owner.TwoFactorAt.IsZero() {
		// A reset or a removal of the account may have removed the authenticators since owner was
		// read.
		now, err := account.ByID(ctx, q, owner.ID)
		if errors.Is(err, db.ErrNotFound) || err == nil && now.Stamp != owner.Stamp {
			return StageFirst, ErrNoAttempt
		}
		if err != nil {
			return StageFirst, err
		}
		// The account is unchanged, so the rows were lost or deleted. That must not turn it into
		// an account without a second factor.
		return StageFirst, fmt.Errorf("account %s has two-factor authentication on, but no authenticator", owner.ID)
	}
	var kinds []authenticator.Kind
	for _, one := range authenticators {
		kinds = append(kinds, one.Kind)
	}
	suspect, err := password.SuspectSince(ctx, q, owner.ID)
	if err != nil {
		return StageFirst, err
	}
	mustChange := !suspect.IsZero()
	switch a.Purpose {
	case SignIn:
	case Reauthentication:
		mustChange = false // its session is open already
	default:
		return StageFirst, a.unknownPurpose()
	}
	return Next(a.Proofs, kinds, mustChange), nil
}

// advance moves the attempt to its next stage and stores it, or finishes it. tx must have locked the accounts
// with [Service.lockAccounts] before its first change; owner is the account that lockAccounts
// returned.
func (s *Service) advance(ctx context.Context, tx *db.Tx, a Attempt, owner account.Account, from Browser) (Progress, error) {
	stage, err := stageOf(ctx, tx, a, owner)
	if err != nil {
		return Progress{}, err
	}
	progress := Progress{Stage: stage, CodesLeft: -1, Username: owner.Name}
	switch stage {
	case StageSecond, StageNewPassword:
		if a.Purpose != SignIn {
			// The proofs were enough when they were given, but two-factor authentication has been
			// turned on since. A reauthentication can't wait for another proof: only sign-ins are stored.
			return Progress{}, ErrNoAttempt
		}
		progress.Attempt, err = a.store(ctx, tx, s.Clock())
	case StageDone:
		progress.ReturnURL = a.ReturnURL
		progress.Opened, err = s.finish(ctx, tx, a, owner, from)
	case StageLink:
		return Progress{}, ErrPasswordEnded
	default: // StageFirst is an error too: every attempt begins with a right password
		return Progress{}, fmt.Errorf("an attempt of account %s is at stage %d after a proof", owner.ID, stage)
	}
	return progress, err
}

// Prompt is what a page shows of an attempt that needs a code.
type Prompt struct {
	Stage     Stage
	Account   account.Account
	CodesLeft int  // number of unused backup codes
	TwoCodes  bool // single codes aren't verified now, only two in a row
	// Authenticators are the names of the account's TOTP authenticators, oldest first.
	Authenticators []string
	Format         CodeFormat
	ReturnURL      string // where the attempt leads, as CheckReturn returned it
}

// HasTOTP reports whether the account has a TOTP authenticator. Without one the page has no
// form for a code.
func (p Prompt) HasTOTP() bool { return len(p.Authenticators) > 0 }

// AttemptPrompt returns what the page asks for in the attempt with this token, or [ErrNoAttempt].
func (s *Service) AttemptPrompt(ctx context.Context, token string, from Browser) (Prompt, error) {
	q := s.DB.Reader()
	a, owner, err := s.attempt(ctx, q, token)
	if err != nil {
		return Prompt{}, err
	}
	w, err := s.ReauthenticationPrompt(ctx, owner, from)
	if err != nil {
		return Prompt{}, err
	}
	w.Account, w.ReturnURL = owner, a.ReturnURL
	w.Stage, err = stageOf(ctx, q, a, owner)
	return w, err
}

// SubmitNewPassword replaces a suspect password at the end of a sign-in. It returns the
// errors of password.Check, [ErrSamePassword] or [ErrNoAttempt].
func (s *Service) SubmitNewPassword(ctx context.Context, token, typed string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	stage, err := stageOf(ctx, s.DB.Reader(), a, owner)
	if err != nil {
		return Progress{}, err
	}
	if stage != StageNewPassword {
		return Progress{}, ErrNoAttempt
	}
	phc, err := s.HashNew(ctx, owner, typed)
	if err != nil {
		return Progress{}, err
	}
	var progress Progress
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		// Hashing took time: check that the attempt still exists and the account is unchanged.
		if owner, err = s.lockAccounts(ctx, tx, owner.ID, from); err != nil {
			return err
		}
		if owner.Disabled() || owner.Stamp != a.Stamp {
			return ErrNoAttempt
		}
		if err := a.consume(ctx, tx); err != nil {
			return err
		}
		if a.Stamp, err = EndOthers(ctx, tx, owner.ID, Spared{Device: from.Device}); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, owner.ID, phc, now); err != nil {
			return err
		}
		if err := s.Journal.Record(ctx, tx, from.Event(now, owner.ID, audit.PasswordChanged)); err != nil {
			return err
		}
		a.ID = "" // consume deleted its row
		owner.Stamp = a.Stamp
		progress, err = s.advance(ctx, tx, a, owner, from)
		return err
	})
	s.Metrics.countLaterStep(progress, err)
	return progress, err
}

// CheckNew returns why typed can't become the account's password, or nil.
func (s *Service) CheckNew(owner account.Account, typed string) error {
	return password.Check(typed, s.MinRunes, s.GuessableWords(owner)...)
}

// GuessableWords returns words about the account and the site that a guesser tries first. A
// password made of them is weak.
func (s *Service) GuessableWords(owner account.Account) []string {
	return []string{s.Issuer, owner.Name, owner.DisplayName, owner.Email}
}

// HashNew checks and hashes a new password. It returns [ErrSamePassword] if the account already
// has that password.
func (s *Service) HashNew(ctx context.Context, owner account.Account, typed string) (secret.Text, error) {
	if err := s.CheckNew(owner, typed); err != nil {
		return secret.Text{}, err
	}
	// Every caller acts for a user who is signed in, has a link or is on the command line. So the
	// request counts as one from a known browser.
	release, err := s.acquireSlot(ctx, throttle.Place{Account: owner.ID, Known: true})
	if err != nil {
		return secret.Text{}, err
	}
	defer release(true)
	if owner.ID != "" {
		same, err := password.Verify(ctx, s.DB.Reader(), s.Ring, s.Passwords, owner.ID, typed)
		if err != nil {
			return secret.Text{}, err
		}
		if same.Match {
			return secret.Text{}, ErrSamePassword
		}
	}
	return password.Hash(s.Passwords, typed)
}

// asRefused returns the event with the outcome of a request that was not carried out.
func asRefused(e audit.Event) audit.Event {
	e.Outcome = audit.Refused
	return e
}

// NewBackupCodes makes a set of backup codes. It waits for a hashing slot, since it computes the
// codes' hashes.
func (s *Service) NewBackupCodes(ctx context.Context, accountID string) (backupcode.Set, error) {
	release, err := s.acquireSlot(ctx, throttle.Place{Account: accountID, Known: true})
	if err != nil {
		return backupcode.Set{}, err
	}
	defer release(true)
	return backupcode.NewSet(s.Passwords), nil
}
