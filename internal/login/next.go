package login

import "github.com/sallyport/sallyport/internal/authenticator"

// Stage is the step that an attempt waits for.
type Stage int

// The stages. The zero value is the first one, without a proof.
const (
	StageFirst       Stage = iota // needs a password or a passkey
	StageSecond                   // needs a second factor: a code or backup code
	StageLink                     // the password is suspect and the only factor: an operator's link is needed
	StageNewPassword              // the password is suspect and must be changed
	StageDone
)

// Next returns the stage that an attempt is at. It decides by the attempt's proofs, by the kinds of
// the account's second authenticators, and by whether the account's password is suspect.
func Next(proven []authenticator.Proof, has []authenticator.Kind, suspect bool) Stage {
	level := authenticator.AAL(proven)
	switch {
	case !authenticator.HasFirst(proven):
		return StageFirst
	case len(has) > 0 && level < 2:
		return StageSecond
	case suspect && level < 2:
		// A thief knows the same password and must not choose the new one.
		return StageLink
	case suspect:
		return StageNewPassword
	default:
		return StageDone
	}
}
