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

// Progress is what a right credential led to.
type Progress struct {
	Stage     Stage
	Attempt   secret.Text // until [StageDone]: the attempt's new token
	Session   secret.Text // at [StageDone]: the session's new token
	Device    secret.Text // at [StageDone] of a sign-in: the device cookie's new value
	ReturnURL string      // at [StageDone]: where the person goes, checked
	CodesLeft int         // after a backup code: how many are unused; else -1
	Username  string      // of the account, for the log
}

// SubmitPassword begins a sign-in. An unknown name, a disabled account and a
// wrong password give [ErrRejected] after the same work (R27). sessionToken is
// what the browser holds so far, or empty.
func (s *Service) SubmitPassword(ctx context.Context, username, typed, returnURL, sessionToken string, from Browser) (Progress, error) {
	progress, err := s.submitPassword(ctx, username, typed, returnURL, sessionToken, from)
	s.Metrics.begun(progress, err)
	return progress, err
}

func (s *Service) submitPassword(ctx context.Context, username, typed, returnURL, sessionToken string, from Browser) (Progress, error) {
	owner, err := account.ByName(ctx, s.DB.Reader(), username)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return Progress{}, err
	}
	ledgerID := owner.ID
	if owner.ID == "" {
		ledgerID = s.nobody(username)
	}
	v, err := s.tryPassword(ctx, ledgerID, owner, typed, from)
	if err != nil {
		return Progress{}, err
	}
	ctx, done := regardless(ctx)
	defer done()
	if !v.Match || owner.Disabled() {
		// The event is written for names that don't exist too: its commit
		// takes longer than the rest of the difference.
		if err := s.failed(ctx, from.event(s.Clock(), ledgerID, audit.SignInFailed), v.known, from); err != nil {
			return Progress{}, err
		}
		return Progress{}, ErrRejected
	}
	now := s.Clock()
	attempt := Attempt{
		AccountID: owner.ID, Stamp: owner.Stamp, Purpose: SignIn, Place: v.place, ReturnURL: CheckReturn(returnURL),
		Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: now}},
	}
	var progress Progress
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := s.lock(ctx, tx, owner.ID, sessionToken); err != nil {
			return err
		}
		if err := s.settle(ctx, tx, owner.ID, v); err != nil {
			return err
		}
		progress, err = s.advance(ctx, tx, attempt, sessionToken, from)
		return err
	})
	if err != nil {
		// The transaction was rolled back, and the give-back with it; the password was
		// right all the same.
		err = errors.Join(err, s.giveBack(ctx, v.reservation))
	}
	if errors.Is(err, ErrPasswordEnded) {
		return Progress{}, errors.Join(err, s.failed(ctx, from.event(s.Clock(), owner.ID, audit.SignInFailed), v.known, from))
	}
	return progress, err
}

// stage says where the attempt of owner stands, as far as the database knows.
func (s *Service) stage(ctx context.Context, q db.Querier, a Attempt, owner account.Account) (Stage, error) {
	authenticators, err := authenticator.List(ctx, q, owner.ID)
	if err != nil {
		return StagePassword, err
	}
	if len(authenticators) == 0 && !owner.TwoFactorAt.IsZero() {
		// Somebody took rows away. That must not look like an account without
		// a second factor.
		return StagePassword, fmt.Errorf("account %s has two-factor authentication on, but no authenticator", owner.ID)
	}
	var kinds []authenticator.Kind
	for _, one := range authenticators {
		kinds = append(kinds, one.Kind)
	}
	suspect, err := password.SuspectSince(ctx, q, owner.ID)
	if err != nil {
		return StagePassword, err
	}
	// A reauthentication changes no password: its session is open already.
	mustChange := !suspect.IsZero() && a.Purpose == SignIn
	return Next(a.Proofs, kinds, mustChange), nil
}

// advance stores the attempt at its next stage, or finishes it. tx holds
// [Service.lock] since before it changed anything.
func (s *Service) advance(ctx context.Context, tx *db.Tx, a Attempt, sessionToken string, from Browser) (Progress, error) {
	owner, err := account.ByID(ctx, tx, a.AccountID)
	if err != nil {
		return Progress{}, err
	}
	stage, err := s.stage(ctx, tx, a, owner)
	if err != nil {
		return Progress{}, err
	}
	if stage == StageLink {
		return Progress{}, ErrPasswordEnded
	}
	progress := Progress{Stage: stage, CodesLeft: -1, Username: owner.Name}
	if stage == StageDone {
		progress.ReturnURL = a.ReturnURL
		progress.Session, progress.Device, err = s.finish(ctx, tx, a, owner, sessionToken, from)
		return progress, err
	}
	progress.Attempt, err = a.store(ctx, tx, s.Clock())
	return progress, err
}

// Waiting is what a door shows of an attempt that waits for a code.
type Waiting struct {
	Stage     Stage
	Account   account.Account
	CodesLeft int  // unused backup codes
	TwoCodes  bool // single codes aren't looked at now
	// Authenticators are the names of those whose codes are accepted, oldest first.
	Authenticators []string
	ReturnURL      string // where the attempt leads, checked
}

// Waiting returns where the attempt with this token stands, or [ErrNoAttempt].
func (s *Service) Waiting(ctx context.Context, token string, from Browser) (Waiting, error) {
	q := s.DB.Reader()
	a, owner, err := s.attempt(ctx, q, token)
	if err != nil {
		return Waiting{}, err
	}
	w, err := s.waiting(ctx, owner.ID, from)
	if err != nil {
		return Waiting{}, err
	}
	w.Account, w.ReturnURL = owner, a.ReturnURL
	w.Stage, err = s.stage(ctx, q, a, owner)
	return w, err
}

func (s *Service) waiting(ctx context.Context, accountID string, from Browser) (Waiting, error) {
	q := s.DB.Reader()
	left, err := backupcode.Left(ctx, q, accountID)
	if err != nil {
		return Waiting{}, err
	}
	authenticators, err := authenticator.List(ctx, q, accountID)
	if err != nil {
		return Waiting{}, err
	}
	tries, _, err := s.codeTries(ctx, q, Attempt{}, accountID, len(authenticators), false, from)
	if err != nil {
		return Waiting{}, err
	}
	verdict, err := s.Ledger.Peek(ctx, tries[0])
	if err != nil {
		return Waiting{}, err
	}
	w := Waiting{CodesLeft: left, TwoCodes: verdict.Answer == throttle.NeedTwoCodes}
	for _, a := range authenticators {
		w.Authenticators = append(w.Authenticators, a.Name)
	}
	return w, nil
}

// SubmitNewPassword changes a suspect password at the end of a sign-in. It
// returns the errors of password.Check, [ErrSamePassword] or [ErrNoAttempt].
func (s *Service) SubmitNewPassword(ctx context.Context, token, typed, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	w, err := s.Waiting(ctx, token, from)
	if err != nil {
		return Progress{}, err
	}
	if w.Stage != StageNewPassword {
		return Progress{}, ErrNoAttempt
	}
	phc, err := s.hashNew(ctx, owner, typed)
	if err != nil {
		return Progress{}, err
	}
	var progress Progress
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		// The hash took its time: the attempt must still be the one that was
		// read, for an account that nobody changed meanwhile.
		if err := s.lock(ctx, tx, owner.ID, sessionToken); err != nil {
			return err
		}
		if owner, err = account.ByID(ctx, tx, owner.ID); err != nil {
			return err
		}
		if owner.Disabled() || owner.Stamp != a.Stamp {
			return ErrNoAttempt
		}
		if err := a.end(ctx, tx); err != nil {
			return err
		}
		if a.Stamp, err = s.endOthers(ctx, tx, owner.ID, "", from.Device); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, owner.ID, phc, now); err != nil {
			return err
		}
		if err := audit.Append(ctx, tx, from.event(now, owner.ID, audit.PasswordChanged)); err != nil {
			return err
		}
		a.ID = "" // its row is gone
		progress, err = s.advance(ctx, tx, a, sessionToken, from)
		return err
	})
	s.Metrics.goneOn(progress, err)
	return progress, err
}

// checkNew returns why typed can't become the account's password.
func (s *Service) checkNew(owner account.Account, typed string) error {
	return password.Check(typed, s.MinRunes, s.Words(owner)...)
}

// Words are what everybody knows of the account and the site; a password made
// of them is guessed early.
func (s *Service) Words(owner account.Account) []string {
	return []string{s.Issuer, owner.Name, owner.DisplayName, owner.Email}
}

// hashNew checks and hashes a new password; one equal to the account's is
// [ErrSamePassword].
func (s *Service) hashNew(ctx context.Context, owner account.Account, typed string) (secret.Text, error) {
	if err := s.checkNew(owner, typed); err != nil {
		return secret.Text{}, err
	}
	// Whoever sets a password is signed in, or has a link or the command line.
	leave, err := s.queue(ctx, throttle.Place{Account: owner.ID, Known: true})
	if err != nil {
		return secret.Text{}, err
	}
	defer leave(true)
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

// refused marks an event as one that was not carried out.
func refused(e audit.Event) audit.Event {
	e.Outcome = audit.Refused
	return e
}
