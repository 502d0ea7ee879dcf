package login

import "github.com/sallyport/sallyport/internal/authenticator"

// Stage is where an attempt stands.
type Stage int

// The stages. The zero value is the first: nothing is proven.
const (
	StagePassword    Stage = iota
	StageCode              // a code or backup code is due
	StageNewPassword       // the password is known to somebody else and must be changed
	StageDone
)

// Next returns the stage an attempt is at, given what was proven, which
// second authenticators the account has, and whether its password is suspect.
func Next(proven []authenticator.Proof, has []authenticator.Kind, suspect bool) Stage {
	known := false
	for _, p := range proven {
		known = known || p.Kind == authenticator.Password
	}
	switch {
	case !known:
		return StagePassword
	case len(has) > 0 && authenticator.AAL(proven) < 2:
		return StageCode
	case suspect:
		return StageNewPassword
	default:
		return StageDone
	}
}
