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
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Progress is what a right credential led to.
type Progress struct {
	Stage     Stage
	Attempt   secret.Text // until [StageDone]: the attempt's new token
	Session   secret.Text // at [StageDone]: the session's new token
	ReturnURL string      // at [StageDone]: where the person goes, checked
	CodesLeft int         // after a backup code: how many are unused; else -1
}

// SubmitPassword begins a sign-in. An unknown name, a disabled account and a
// wrong password give [ErrRejected] after the same work (R27). sessionToken is
// what the browser holds so far, or empty.
func (s *Service) SubmitPassword(ctx context.Context, username, typed, returnURL, sessionToken string, from Browser) (Progress, error) {
	owner, err := account.ByName(ctx, s.DB.Reader(), username)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return Progress{}, err
	}
	ledgerID := owner.ID
	if owner.ID == "" {
		ledgerID = s.nobody(username)
	}
	v, err := s.tryPassword(ctx, ledgerID, owner.ID, typed)
	if err != nil {
		return Progress{}, err
	}
	if !v.Match || owner.Disabled() {
		// The event is written for names that don't exist too: its commit
		// takes longer than the rest of the difference.
		if err := s.note(ctx, refused(from.event(s.Clock(), ledgerID, audit.SignInFailed))); err != nil {
			return Progress{}, err
		}
		return Progress{}, ErrRejected
	}
	now := s.Clock()
	attempt := Attempt{
		AccountID: owner.ID, Stamp: owner.Stamp, Purpose: SignIn, ReturnURL: CheckReturn(returnURL),
		Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: now}},
	}
	var progress Progress
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := s.settle(ctx, tx, owner.ID, v); err != nil {
			return err
		}
		progress, err = s.advance(ctx, tx, attempt, sessionToken, from)
		return err
	})
	return progress, err
}

// stage says where the attempt stands, as far as the database knows.
func (s *Service) stage(ctx context.Context, q db.Querier, a Attempt) (Stage, error) {
	authenticators, err := authenticator.List(ctx, q, a.AccountID)
	if err != nil {
		return StagePassword, err
	}
	owner, err := account.ByID(ctx, q, a.AccountID)
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
	suspect, err := password.SuspectSince(ctx, q, a.AccountID)
	if err != nil {
		return StagePassword, err
	}
	// A reauthentication changes no password: its session is open already.
	mustChange := !suspect.IsZero() && a.Purpose == SignIn
	return Next(a.Proofs, kinds, mustChange), nil
}

// advance stores the attempt at its next stage, or finishes it.
func (s *Service) advance(ctx context.Context, tx *db.Tx, a Attempt, sessionToken string, from Browser) (Progress, error) {
	stage, err := s.stage(ctx, tx, a)
	if err != nil {
		return Progress{}, err
	}
	progress := Progress{Stage: stage, CodesLeft: -1}
	if stage == StageDone {
		progress.ReturnURL = a.ReturnURL
		progress.Session, err = s.finish(ctx, tx, a, sessionToken, from)
		return progress, err
	}
	progress.Attempt, err = a.store(ctx, tx, s.Clock())
	return progress, err
}

// Waiting is what a door shows of an attempt that waits for a code.
type Waiting struct {
	Stage       Stage
	AccountName string
	CodesLeft   int  // unused backup codes
	TwoCodes    bool // single codes aren't looked at now
}

// Waiting returns where the attempt with this token stands, or [ErrNoAttempt].
func (s *Service) Waiting(ctx context.Context, token string) (Waiting, error) {
	q := s.DB.Reader()
	a, owner, err := s.attempt(ctx, q, token)
	if err != nil {
		return Waiting{}, err
	}
	w, err := s.waiting(ctx, owner.ID)
	if err != nil {
		return Waiting{}, err
	}
	w.AccountName = owner.Name
	w.Stage, err = s.stage(ctx, q, a)
	return w, err
}

func (s *Service) waiting(ctx context.Context, accountID string) (Waiting, error) {
	q := s.DB.Reader()
	left, err := backupcode.Left(ctx, q, accountID)
	if err != nil {
		return Waiting{}, err
	}
	authenticators, err := authenticator.List(ctx, q, accountID)
	if err != nil {
		return Waiting{}, err
	}
	verdict, err := s.Ledger.Look(ctx, throttle.Key{Account: accountID, Bucket: throttle.CodeUnknownDevice}, len(authenticators))
	if err != nil {
		return Waiting{}, err
	}
	return Waiting{CodesLeft: left, TwoCodes: verdict.Answer == throttle.NeedTwoCodes}, nil
}

// SubmitCode gives the attempt a code of any of the account's TOTP
// authenticators, or two consecutive ones; next is empty for one. It returns a
// [*CodeError], [ErrNeedTwoCodes], [ErrNoMoreCodes] or [ErrNoAttempt].
func (s *Service) SubmitCode(ctx context.Context, token, code, next, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	return s.proveCode(ctx, a, owner, code, next, sessionToken, from)
}

// proveCode verifies a code for the attempt and advances it.
func (s *Service) proveCode(ctx context.Context, a Attempt, owner account.Account, code, next, sessionToken string, from Browser) (Progress, error) {
	first, err := totp.Normalize(code)
	second := ""
	if err == nil && next != "" {
		second, err = totp.Normalize(next)
	}
	if err != nil {
		return Progress{}, &CodeError{Malformed: true, Pair: next != ""}
	}
	authenticators, err := authenticator.List(ctx, s.DB.Reader(), owner.ID)
	if err != nil {
		return Progress{}, err
	}
	key, units := throttle.Key{Account: owner.ID, Bucket: throttle.CodeUnknownDevice}, len(authenticators)
	if second != "" {
		key.Bucket, units = throttle.TwoCodes, 1
	}
	reservation, verdict, err := s.Ledger.Reserve(ctx, key, units)
	if err != nil {
		return Progress{}, err
	}
	if err := refusal(verdict); err != nil {
		return Progress{}, err
	}
	by, check, err := s.compare(ctx, authenticators, first, second)
	if err != nil {
		return Progress{}, err
	}
	var progress Progress
	if check.Result == totp.Accepted {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			now := s.Clock()
			if err := totp.Claim(ctx, tx, by.ID, check); err != nil {
				return err
			}
			if err := authenticator.Used(ctx, tx, by.ID, now); err != nil {
				return err
			}
			if err := throttle.GiveBack(ctx, tx, reservation); err != nil {
				return err
			}
			proven := a
			proven.Proofs = authenticator.Merge(a.Proofs, []authenticator.Proof{{Kind: authenticator.TOTP, ID: by.ID, At: now}})
			progress, err = s.advance(ctx, tx, proven, sessionToken, from)
			return err
		})
		if !errors.Is(err, totp.ErrReused) {
			return progress, err
		}
		check = totp.Check{Result: totp.Reused} // another request was faster
	}
	return Progress{}, s.rejectCode(ctx, owner.ID, reservation, check, second != "", from)
}

// compare holds the codes against each authenticator and returns the best
// result with the authenticator that gave it.
func (s *Service) compare(ctx context.Context, authenticators []authenticator.Authenticator, first, second string) (authenticator.Authenticator, totp.Check, error) {
	var (
		by   authenticator.Authenticator
		best totp.Check
		now  = s.Clock()
	)
	for _, one := range authenticators {
		state, err := totp.Load(ctx, s.DB.Reader(), s.Ring, one)
		if err != nil {
			return by, best, err
		}
		var check totp.Check
		if second == "" {
			check = state.Verify(first, now)
		} else {
			check = state.VerifyPair(first, second, now)
		}
		// All are compared whatever was found; an accepted code wins, and
		// before it the first that had anything to say.
		if best.Result == totp.Wrong || check.Result == totp.Accepted && best.Result != totp.Accepted {
			by, best = one, check
		}
	}
	return by, best, nil
}

// rejectCode settles a code that opened nothing. One that was right but used
// costs nothing; everything else stays reserved, and so counts.
func (s *Service) rejectCode(ctx context.Context, accountID string, r throttle.Reservation, check totp.Check, pair bool, from Browser) error {
	event := refused(from.event(s.Clock(), accountID, audit.CodeFailed))
	used := check.Result == totp.Reused || check.Result == totp.SetBack
	if used {
		event.Kind = audit.CodeReused
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if used {
			if err := throttle.GiveBack(ctx, tx, r); err != nil {
				return err
			}
		}
		return audit.Append(ctx, tx, event)
	})
	if err != nil {
		return err
	}
	return &CodeError{Pair: pair, Result: check.Result, Minutes: check.Minutes}
}

// SubmitBackupCode gives the attempt a backup code. It returns [ErrRejected],
// [ErrMalformedBackupCode], a [*WaitError] or [ErrNoAttempt].
func (s *Service) SubmitBackupCode(ctx context.Context, token, typed, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	return s.proveBackupCode(ctx, a, owner, typed, sessionToken, from)
}

func (s *Service) proveBackupCode(ctx context.Context, a Attempt, owner account.Account, typed, sessionToken string, from Browser) (Progress, error) {
	code, err := backupcode.Normalize(typed)
	if err != nil {
		return Progress{}, ErrMalformedBackupCode
	}
	// The pace counts for the prefix as well, so that a thief elsewhere can't
	// keep the owner waiting.
	key := throttle.Key{Account: owner.ID, Bucket: throttle.BackupCode, Subject: throttle.Prefix(from.Address)}
	if verdict, err := s.Ledger.Look(ctx, key, 1); err != nil {
		return Progress{}, err
	} else if err := refusal(verdict); err != nil {
		return Progress{}, err
	}
	leave, err := s.Queue.Enter(ctx)
	if err != nil {
		return Progress{}, err
	}
	defer leave()
	reservation, verdict, err := s.Ledger.Reserve(ctx, key, 1)
	if err != nil {
		return Progress{}, err
	}
	if err := refusal(verdict); err != nil {
		return Progress{}, err
	}
	id, err := backupcode.Match(ctx, s.DB.Reader(), s.Ring, s.Passwords, owner.ID, code)
	if err != nil {
		return Progress{}, err
	}
	var progress Progress
	if id != "" {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			now := s.Clock()
			if err := backupcode.Redeem(ctx, tx, owner.ID, id, now); err != nil {
				return err
			}
			if err := throttle.GiveBack(ctx, tx, reservation); err != nil {
				return err
			}
			left, err := backupcode.Left(ctx, tx, owner.ID)
			if err != nil {
				return err
			}
			event := from.event(now, owner.ID, audit.BackupCodeUsed)
			event.Number = left
			if err := audit.Append(ctx, tx, event); err != nil {
				return err
			}
			proven := a
			proven.Proofs = authenticator.Merge(a.Proofs, []authenticator.Proof{{Kind: authenticator.BackupCode, At: now}})
			progress, err = s.advance(ctx, tx, proven, sessionToken, from)
			progress.CodesLeft = left
			return err
		})
		if !errors.Is(err, backupcode.ErrUsed) {
			return progress, err
		}
	}
	if err := s.note(ctx, refused(from.event(s.Clock(), owner.ID, audit.BackupCodeFailed))); err != nil {
		return Progress{}, err
	}
	return Progress{}, ErrRejected
}

// SubmitNewPassword changes a suspect password at the end of a sign-in. It
// returns the errors of password.Check, [ErrSamePassword] or [ErrNoAttempt].
func (s *Service) SubmitNewPassword(ctx context.Context, token, typed, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	w, err := s.Waiting(ctx, token)
	if err != nil {
		return Progress{}, err
	}
	if w.Stage != StageNewPassword {
		return Progress{}, ErrNoAttempt
	}
	phc, err := s.hashNew(ctx, owner.ID, typed)
	if err != nil {
		return Progress{}, err
	}
	var progress Progress
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		// The hash took its time: the attempt must still be the one that was
		// read, for an account that nobody changed meanwhile.
		if err := account.Lock(ctx, tx, owner.ID); err != nil {
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
		if a.Stamp, err = s.endOthers(ctx, tx, owner.ID, ""); err != nil {
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
	return progress, err
}

// hashNew checks and hashes a new password; one equal to the account's is
// [ErrSamePassword].
func (s *Service) hashNew(ctx context.Context, accountID, typed string) (secret.Text, error) {
	if err := password.Check(typed, s.MinRunes); err != nil {
		return secret.Text{}, err
	}
	leave, err := s.Queue.Enter(ctx)
	if err != nil {
		return secret.Text{}, err
	}
	defer leave()
	if accountID != "" {
		same, err := password.Verify(ctx, s.DB.Reader(), s.Ring, s.Passwords, accountID, typed)
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
