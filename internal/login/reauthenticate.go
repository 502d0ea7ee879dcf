package login

import (
	"context"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Proofs holds the form fields of a reauthentication. Code, NextCode and BackupCode are used
// only if two-factor authentication is on; a backup code takes precedence over a code.
type Proofs struct {
	Password   string
	Code       string
	NextCode   string
	BackupCode string
}

// Reauthenticate verifies the credentials of a session's owner again. It verifies the code
// only after a right password, and uses the budgets of a sign-in (R1). The session gets a
// new token and the new proofs.
func (s *Service) Reauthenticate(ctx context.Context, me Me, given Proofs, returnURL string) (Progress, error) {
	owner, from := me.Account, me.From
	v, err := s.verifyPassword(ctx, me, given.Password)
	if err != nil {
		return Progress{}, err
	}
	// Give the password's reservation back before the code is verified: a wrong code doesn't make
	// the password wrong.
	if err := s.settleDetached(ctx, owner.ID, v); err != nil {
		return Progress{}, err
	}
	a := Attempt{
		AccountID: owner.ID, Stamp: me.Session.Stamp, Purpose: Reauthentication, SessionID: me.Session.ID, ReturnURL: CheckReturn(returnURL),
		Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: s.Clock()}},
	}
	second, err := authenticator.List(ctx, s.DB.Reader(), owner.ID)
	if err != nil {
		return Progress{}, err
	}
	switch {
	case len(second) == 0:
		var progress Progress
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			locked, err := s.lockAccounts(ctx, tx, owner.ID, from)
			if err != nil {
				return err
			}
			progress, err = s.advance(ctx, tx, a, locked, from)
			return err
		})
		return progress, err
	case given.BackupCode != "":
		return s.proveBackupCode(ctx, a, owner, given.BackupCode, from)
	default:
		return s.proveCode(ctx, func(db.Querier) (Attempt, error) { return a, nil }, given.Code, given.NextCode, from)
	}
}

// SecondFactor reports whether two-factor authentication is on for the account, and how many
// of its backup codes are unused.
func (s *Service) SecondFactor(ctx context.Context, owner account.Account) (on bool, codesLeft int, err error) {
	q := s.DB.Reader()
	have, err := authenticator.List(ctx, q, owner.ID)
	if err != nil || len(have) == 0 {
		return false, 0, err
	}
	codesLeft, err = backupcode.Left(ctx, q, owner.ID)
	return true, codesLeft, err
}

// ReauthenticationPrompt returns what the form of a reauthentication asks for.
func (s *Service) ReauthenticationPrompt(ctx context.Context, owner account.Account, from Browser) (Prompt, error) {
	q := s.DB.Reader()
	left, err := backupcode.Left(ctx, q, owner.ID)
	if err != nil {
		return Prompt{}, err
	}
	all, err := authenticator.List(ctx, q, owner.ID)
	if err != nil {
		return Prompt{}, err
	}
	w := Prompt{CodesLeft: left}
	phones := authenticator.OfKind(all, authenticator.TOTP)
	for _, a := range phones {
		w.Authenticators = append(w.Authenticators, a.Name)
	}
	parameters, err := readParameters(ctx, q, phones)
	if err != nil {
		return Prompt{}, err
	}
	w.Format = formatOf(parameters)
	if len(w.Format.Digits) == 0 {
		return w, nil // the account has no authenticator that shows codes
	}
	units := 0
	for _, digits := range w.Format.Digits {
		// The form accepts codes of every length, so the budget must allow the one that costs most.
		units = max(units, unitsOf(parameters, digits))
	}
	tries, _, err := s.codeTries(ctx, q, Attempt{AccountID: owner.ID}, units, from)
	if err != nil {
		return Prompt{}, err
	}
	verdict, err := s.Ledger.Peek(ctx, tries[0])
	w.TwoCodes = verdict.Answer == throttle.NeedTwoCodes
	return w, err
}
