package web

import (
	"reflect"
	"testing"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
)

func TestEveryStageHasAPage(t *testing.T) {
	for stage, want := range map[login.Stage]string{
		login.StageFirst: "/login", login.StageSecond: "/login/code", login.StageNewPassword: "/login/new-password",
		login.StageLink: "/login", login.StageDone + 1: "/login", -1: "/login",
	} {
		if got := stagePath(stage); got != want {
			t.Errorf("page of stage %d: %s, want %s", stage, got, want)
		}
	}
}

// Each set of proofs has a text of its own on the pages. A name that only a newer version knows, in
// an old event, has a text too.
func TestEverySetOfProofsHasAText(t *testing.T) {
	for set := range 1 << len(authenticator.Kinds) {
		var proofs []authenticator.Proof
		for i, k := range authenticator.Kinds {
			if set&(1<<i) != 0 {
				proofs = append(proofs, authenticator.Proof{Kind: k})
			}
		}
		name := login.ProofsName(proofs)
		if got, want := page.SignInMessage(name), locale.Say("how."+name); !reflect.DeepEqual(got, want) {
			t.Errorf("text of %v: %v, want %v", proofs, got, want)
		}
	}
	if got, want := page.SignInMessage("password_smartcard"), locale.Say("how.password"); !reflect.DeepEqual(got, want) {
		t.Errorf("text of an unknown name: %v, want %v", got, want)
	}
}
