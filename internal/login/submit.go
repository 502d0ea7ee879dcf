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
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Progress is what a right credential led to.
type Progress struct {
	Stage     Stage
	Attempt   secret.Text // until [StageDone]: the attempt's new token
	Session   secret.Text // at [StageDone]: the session's new token
	Device    secret.Text // at [StageDone] of a sign-in: the device cookie's new token
	ReturnURL string      // at [StageDone]: where the person goes, checked
	CodesLeft int         // after a backup code: how many are unused; else -1
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
	v, err := s.tryPassword(ctx, ledgerID, owner.ID, typed, from)
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
		progress.Session, progress.Device, err = s.finish(ctx, tx, a, sessionToken, from)
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
	w.AccountName = owner.Name
	w.Stage, err = s.stage(ctx, q, a)
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
	tries, _, err := s.codeTries(ctx, Attempt{}, accountID, len(authenticators), false, from)
	if err != nil {
		return Waiting{}, err
	}
	verdict, err := s.Ledger.Look(ctx, tries[0])
	if err != nil {
		return Waiting{}, err
	}
	return Waiting{CodesLeft: left, TwoCodes: verdict.Answer == throttle.NeedTwoCodes}, nil
}

// SubmitCode gives the attempt a code of any of the account's TOTP
// authenticators, or two consecutive ones; next is empty for one. It returns a
// [*CodeError], [ErrNeedTwoCodes], [ErrNoMoreCodes], [ErrClock] or
// [ErrNoAttempt].
func (s *Service) SubmitCode(ctx context.Context, token, code, next, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	progress, err := s.proveCode(ctx, a, owner, code, next, sessionToken, from)
	s.Metrics.goneOn(progress, err)
	return progress, err
}

// proveCode verifies a code for the attempt and advances it.
func (s *Service) proveCode(ctx context.Context, a Attempt, owner account.Account, code, next, sessionToken string, from Browser) (Progress, error) {
	progress, err := s.tryCode(ctx, a, owner, code, next, sessionToken, from)
	s.Metrics.secondFactor(authenticator.TOTP, err)
	return progress, err
}

func (s *Service) tryCode(ctx context.Context, a Attempt, owner account.Account, code, next, sessionToken string, from Browser) (Progress, error) {
	first, err := totp.Normalize(code)
	second := ""
	if err == nil && next != "" {
		second, err = totp.Normalize(next)
	}
	if err != nil {
		return Progress{}, &CodeError{Malformed: true, Pair: next != ""}
	}
	// Before the try is reserved: what isn't looked at costs nothing.
	if err := s.checkClock(ctx); err != nil {
		return Progress{}, err
	}
	authenticators, err := authenticator.List(ctx, s.DB.Reader(), owner.ID)
	if err != nil {
		return Progress{}, err
	}
	tries, known, err := s.codeTries(ctx, a, owner.ID, len(authenticators), second != "", from)
	if err != nil {
		return Progress{}, err
	}
	reservation, verdict, err := s.Ledger.Reserve(ctx, tries...)
	if err != nil {
		return Progress{}, err
	}
	if verdict.Answer == throttle.ForgetDevice {
		if err := s.forgetDevice(ctx, owner.ID, known, from); err != nil {
			return Progress{}, err
		}
		// From now on it is an unknown browser like any other.
		return s.tryCode(ctx, a, owner, code, next, sessionToken, from)
	}
	if err := s.refusal(verdict); err != nil {
		return Progress{}, err
	}
	by, check, err := s.compare(ctx, authenticators, first, second)
	if err != nil {
		return Progress{}, err
	}
	var progress Progress
	if check.Result == totp.Accepted {
		now := s.Clock()
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
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
		if err == nil {
			s.Watch.Accepted(by.ID, check.Step-totp.Step(now))
		}
		if !errors.Is(err, totp.ErrReused) {
			return progress, err
		}
		check = totp.Check{Result: totp.Reused} // another request was faster
	}
	return Progress{}, s.rejectCode(ctx, owner.ID, reservation, check, second != "", from)
}

// codeTries are the tries that a code counts as, and the id of the known
// browser that it comes from, or "".
func (s *Service) codeTries(ctx context.Context, a Attempt, accountID string, authenticators int, pair bool, from Browser) ([]throttle.Try, string, error) {
	q, now := s.DB.Reader(), s.Clock()
	known, err := device.Known(ctx, q, from.Device, accountID, now)
	if err != nil {
		return nil, "", err
	}
	try := throttle.Try{Key: throttle.Key{Account: accountID, Subject: known.ID}, Units: authenticators, Tag: a.tag()}
	switch {
	case pair:
		try.Bucket, try.Units = throttle.TwoCodes, 1
		if try.PasswordSet, err = password.ChangedAt(ctx, q, accountID); err != nil {
			return nil, "", err
		}
	case known.ID != "":
		try.Bucket = throttle.CodeKnownDevice
	default:
		try.Bucket = throttle.CodeUnknownDevice
	}
	tries := []throttle.Try{try}
	if known.ID == "" {
		tries = append(tries, throttle.PrefixTries(from.Address, accountID)...)
	}
	return tries, known.ID, nil
}

// forgetDevice makes a browser unknown that gave too many wrong codes: its
// cookie may be a copy.
func (s *Service) forgetDevice(ctx context.Context, accountID, id string, from Browser) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := device.Forget(ctx, tx, accountID, id); err != nil {
			return err
		}
		return audit.Append(ctx, tx, from.event(s.Clock(), accountID, audit.DeviceForgotten))
	})
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
// costs nothing; everything else stays reserved, and so counts. Too many wrong
// ones tell that somebody else has the password.
func (s *Service) rejectCode(ctx context.Context, accountID string, r throttle.Reservation, check totp.Check, pair bool, from Browser) error {
	now := s.Clock()
	used := check.Result == totp.Reused || check.Result == totp.SetBack
	ended := false
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if used {
			if err := throttle.GiveBack(ctx, tx, r); err != nil {
				return err
			}
			return audit.Append(ctx, tx, refused(from.event(now, accountID, audit.CodeReused)))
		}
		if err := audit.Append(ctx, tx, refused(from.event(now, accountID, audit.CodeFailed))); err != nil {
			return err
		}
		var err error
		ended, err = s.suspect(ctx, tx, accountID, from)
		return err
	})
	if err != nil {
		return err
	}
	if ended {
		return ErrEnded
	}
	return &CodeError{Pair: pair, Result: check.Result, Minutes: check.Minutes}
}

// suspect looks at an account's wrong codes after one more. With the third the
// owner is told; with the fifth the password counts as known to somebody: it
// must be changed at the next sign-in, and every sign-in under way is ended.
func (s *Service) suspect(ctx context.Context, tx *db.Tx, accountID string, from Browser) (ended bool, err error) {
	changed, err := password.ChangedAt(ctx, tx, accountID)
	if err != nil {
		return false, err
	}
	suspicion, err := s.Ledger.Suspect(ctx, tx, accountID, changed)
	if err != nil {
		return false, err
	}
	event := from.event(s.Clock(), accountID, audit.WrongCodesNoticed)
	event.Number = suspicion.Codes
	if suspicion.JustNoticed() {
		return false, audit.Append(ctx, tx, event)
	}
	if !suspicion.Suspect {
		return false, nil
	}
	marked, err := password.MarkSuspect(ctx, tx, accountID, s.Clock())
	if err != nil || !marked {
		return false, err
	}
	event.Kind = audit.PasswordSuspected
	if err := audit.Append(ctx, tx, event); err != nil {
		return false, err
	}
	return true, endAttempts(ctx, tx, accountID)
}

// SubmitBackupCode gives the attempt a backup code. It returns [ErrRejected],
// [ErrMalformedBackupCode], a [*WaitError] or [ErrNoAttempt].
func (s *Service) SubmitBackupCode(ctx context.Context, token, typed, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	progress, err := s.proveBackupCode(ctx, a, owner, typed, sessionToken, from)
	s.Metrics.goneOn(progress, err)
	return progress, err
}

// proveBackupCode verifies a backup code for the attempt and advances it.
func (s *Service) proveBackupCode(ctx context.Context, a Attempt, owner account.Account, typed, sessionToken string, from Browser) (Progress, error) {
	progress, err := s.tryBackupCode(ctx, a, owner, typed, sessionToken, from)
	s.Metrics.secondFactor(authenticator.BackupCode, err)
	return progress, err
}

func (s *Service) tryBackupCode(ctx context.Context, a Attempt, owner account.Account, typed, sessionToken string, from Browser) (Progress, error) {
	code, err := backupcode.Normalize(typed)
	if err != nil {
		return Progress{}, ErrMalformedBackupCode
	}
	// The pace counts for the prefix as well, so that a thief elsewhere can't
	// keep the owner waiting.
	known, err := device.Known(ctx, s.DB.Reader(), from.Device, owner.ID, s.Clock())
	if err != nil {
		return Progress{}, err
	}
	prefix := throttle.PrefixOf(from.Address)
	try := throttle.Try{Key: throttle.Key{Account: owner.ID, Bucket: throttle.BackupCode, Subject: throttle.WidePrefixOf(from.Address)}, Units: 1}
	if verdict, err := s.Ledger.Look(ctx, try); err != nil {
		return Progress{}, err
	} else if err := s.refusal(verdict); err != nil {
		return Progress{}, err
	}
	leave, err := s.enter(ctx, prefix, known.ID != "")
	if err != nil {
		return Progress{}, err
	}
	defer leave()
	reservation, verdict, err := s.Ledger.Reserve(ctx, try)
	if err != nil {
		return Progress{}, err
	}
	if err := s.refusal(verdict); err != nil {
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
	return password.Check(typed, s.MinRunes, s.Issuer, owner.Name, owner.DisplayName, owner.Email)
}

// hashNew checks and hashes a new password; one equal to the account's is
// [ErrSamePassword].
func (s *Service) hashNew(ctx context.Context, owner account.Account, typed string) (secret.Text, error) {
	if err := s.checkNew(owner, typed); err != nil {
		return secret.Text{}, err
	}
	// Whoever sets a password is signed in, or has a link or the command line.
	leave, err := s.enter(ctx, "", true)
	if err != nil {
		return secret.Text{}, err
	}
	defer leave()
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
