package login

import (
	"testing"

	"github.com/sallyport/sallyport/internal/authenticator"
)

// everyState calls visit for every combination of proofs, second authenticators and
// suspicion.
func everyState(visit func(proven []authenticator.Proof, has []authenticator.Kind, suspect bool)) {
	kinds := []authenticator.Kind{authenticator.Password, authenticator.TOTP, authenticator.BackupCode}
	for proofs := range 1 << len(kinds) {
		for second := range 3 { // none, one, two
			for _, suspect := range []bool{false, true} {
				var proven []authenticator.Proof
				for i, k := range kinds {
					if proofs&(1<<i) != 0 {
						proven = append(proven, authenticator.Proof{Kind: k, ID: "a"})
					}
				}
				var has []authenticator.Kind
				for range second {
					has = append(has, authenticator.TOTP)
				}
				visit(proven, has, suspect)
			}
		}
	}
}

func TestNextFollowsTheRulesInEveryState(t *testing.T) {
	states, reached := 0, map[Stage]int{}
	everyState(func(proven []authenticator.Proof, has []authenticator.Kind, suspect bool) {
		states++
		count := map[authenticator.Kind]int{}
		for _, p := range proven {
			count[p.Kind]++
		}
		owned := count[authenticator.TOTP] + count[authenticator.BackupCode]
		var want Stage
		switch {
		case count[authenticator.Password] == 0:
			want = StagePassword // the password comes first, whatever else was proven
		case len(has) > 0 && owned == 0:
			want = StageCode // an account with a second authenticator proves it or a backup code
		case suspect && owned == 0:
			want = StageLink // a thief with a suspect password must not choose the next one
		case suspect:
			want = StageNewPassword // a suspect password is changed only after a second proof
		default:
			want = StageDone // an account without a second authenticator needs the password only
		}
		got := Next(proven, has, suspect)
		if got != want {
			t.Errorf("proven %v, has %v, suspect %v: stage %d, want %d", proven, has, suspect, got, want)
		}
		reached[got]++
	})
	if states != 48 || len(reached) != 5 {
		t.Errorf("%d states, stages %v; want 48 states and every stage", states, reached)
	}
}

func TestMoreProofsNeverLeadBack(t *testing.T) {
	everyState(func(proven []authenticator.Proof, has []authenticator.Kind, suspect bool) {
		before := Next(proven, has, suspect)
		for _, more := range []authenticator.Kind{authenticator.Password, authenticator.TOTP, authenticator.BackupCode} {
			if after := Next(append(proven[:len(proven):len(proven)], authenticator.Proof{Kind: more}), has, suspect); after < before {
				t.Errorf("proven %v and %s: from stage %d back to %d", proven, more, before, after)
			}
		}
	})
}

func TestUnknownKindsOpenNothing(t *testing.T) {
	// An unknown kind, from a newer version, counts as an authenticator of the account, but
	// never as a proof (F3, F4).
	const smartcard = authenticator.Kind("smartcard")
	password := authenticator.Proof{Kind: authenticator.Password}
	if got := Next([]authenticator.Proof{password}, []authenticator.Kind{smartcard}, false); got != StageCode {
		t.Errorf("account with an authenticator of an unknown kind: stage %d, want %d", got, StageCode)
	}
	if got := Next([]authenticator.Proof{password, {Kind: smartcard}}, []authenticator.Kind{authenticator.TOTP}, false); got != StageCode {
		t.Errorf("password and a proof of an unknown kind: stage %d, want %d", got, StageCode)
	}
	if got := Next([]authenticator.Proof{{Kind: smartcard}}, nil, false); got != StagePassword {
		t.Errorf("only a proof of an unknown kind: stage %d, want %d", got, StagePassword)
	}
	if got := Next([]authenticator.Proof{{}}, nil, false); got != StagePassword {
		t.Errorf("empty proof: stage %d, want %d", got, StagePassword)
	}
}

func TestZeroStageIsThePassword(t *testing.T) {
	var zero Stage
	if zero != StagePassword || Next(nil, nil, false) != zero {
		t.Error("an empty attempt is past the password")
	}
}
