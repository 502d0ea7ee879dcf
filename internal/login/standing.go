package login

import (
	"context"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Standing says what wrong tries at an account's credentials have caused. Operators see it when
// they help the owner.
type Standing struct {
	Suspect    bool // the next sign-in must choose another password
	Shielded   bool // browsers that aren't known can't try a password
	Slowed     bool // browsers that aren't known must wait between passwords
	TwoCodes   bool // browsers that aren't known must give two codes in a row
	NoCodes    bool // browsers that aren't known can't give codes at all
	WrongCodes int  // number of wrong codes, after the right password, that the owner is warned of
}

// StandingOf returns the standing of an account. It changes nothing.
func (s *Service) StandingOf(ctx context.Context, owner account.Account) (is Standing, err error) {
	q := s.DB.Reader()
	answer := func(try throttle.Try) throttle.Answer {
		if err != nil {
			return throttle.Refuse
		}
		var v throttle.Verdict
		try.Account, try.Units = owner.ID, 1
		v, err = s.Ledger.Peek(ctx, try)
		return v.Answer
	}
	suspect, err := password.SuspectSince(ctx, q, owner.ID)
	if err != nil {
		return is, err
	}
	set, err := password.ChangedAt(ctx, q, owner.ID)
	if err != nil {
		return is, err
	}
	have, err := authenticator.List(ctx, q, owner.ID)
	if err != nil {
		return is, err
	}
	is.Suspect = !suspect.IsZero()
	byPassword := answer(throttle.Try{Key: throttle.Key{Bucket: throttle.PasswordUnknownDevice}})
	is.Shielded, is.Slowed = byPassword == throttle.Shielded, byPassword == throttle.Wait
	if len(authenticator.OfKind(have, authenticator.TOTP)) > 0 {
		is.TwoCodes = answer(throttle.Try{Key: throttle.Key{Bucket: throttle.CodeUnknownDevice}}) == throttle.NeedTwoCodes
		is.NoCodes = answer(throttle.Try{Key: throttle.Key{Bucket: throttle.TwoCodes}, PasswordSet: set}) != throttle.Allow
	}
	if err == nil {
		is.WrongCodes, err = s.WrongCodes(ctx, owner)
	}
	return is, err
}
