package login

import "github.com/sallyport/sallyport/internal/authenticator"

// Stage is where an attempt stands.
type Stage int

// The stages. The zero value is the first: nothing is proven.
const (
	StagePassword    Stage = iota
	StageCode              // a code or backup code is due
	StageLink              // the password is suspect and nothing else is proven: only an operator's link helps
	StageNewPassword       // the password is suspect and must be changed
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
	case suspect && authenticator.AAL(proven) < 2:
		// A thief has the same password: it can't choose the next one.
		return StageLink
	case suspect:
		return StageNewPassword
	default:
		return StageDone
	}
}
