package login

import "github.com/sallyport/sallyport/internal/authenticator"

// Stage is the step that an attempt waits for.
type Stage int

// The stages. The zero value is the first one: nothing is proven yet.
const (
	StagePassword    Stage = iota
	StageCode              // needs a code or backup code
	StageLink              // the password is suspect and the only proof: an operator's link is needed
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
		// A thief knows the same password and must not choose the new one.
		return StageLink
	case suspect:
		return StageNewPassword
	default:
		return StageDone
	}
}
