package login

import (
	"testing"

	"github.com/sallyport/sallyport/internal/authenticator"
)

// everyState calls visit for every combination of proofs, second authenticators and
// suspicion.
func everyState(visit func(proven []authenticator.Proof, has []authenticator.Kind, suspect bool)) {
	for proofs := range 1 << len(authenticator.Kinds) {
		for _, has := range [][]authenticator.Kind{
			nil, {authenticator.TOTP}, {authenticator.WebAuthn},
			{authenticator.TOTP, authenticator.TOTP}, {authenticator.TOTP, authenticator.WebAuthn}, {"smartcard"},
		} {
			for _, suspect := range []bool{false, true} {
				var proven []authenticator.Proof
				for i, k := range authenticator.Kinds {
					if proofs&(1<<i) != 0 {
						proven = append(proven, authenticator.Proof{Kind: k, ID: string(k)})
					}
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
		passkey := count[authenticator.Passkey] > 0
		second := passkey || count[authenticator.TOTP]+count[authenticator.BackupCode]+count[authenticator.WebAuthn] > 0
		var want Stage
		switch {
		case count[authenticator.Password] == 0 && !passkey:
			want = StageFirst // a password or a passkey comes first, whatever else was proven
		case len(has) > 0 && !second:
			want = StageSecond // an account with a second authenticator proves it or a backup code
		case suspect && !second:
			want = StageLink // a thief with a suspect password must not choose the next one
		case suspect:
			want = StageNewPassword // a suspect password is changed only after a second factor
		default:
			want = StageDone // an account without a second authenticator needs the password only
		}
		got := Next(proven, has, suspect)
		if got != want {
			t.Errorf("proven %v, has %v, suspect %v: stage %d, want %d", proven, has, suspect, got, want)
		}
		reached[got]++
	})
	if states != 32*6*2 || len(reached) != 5 {
		t.Errorf("%d states, stages %v; want 384 states and every stage", states, reached)
	}
}

func TestMoreProofsNeverLeadBack(t *testing.T) {
	everyState(func(proven []authenticator.Proof, has []authenticator.Kind, suspect bool) {
		before := Next(proven, has, suspect)
		for _, more := range authenticator.Kinds {
			if after := Next(append(proven[:len(proven):len(proven)], authenticator.Proof{Kind: more}), has, suspect); after < before {
				t.Errorf("proven %v and %s: from stage %d back to %d, want no way back", proven, more, before, after)
			}
		}
	})
}

func TestUnknownKindsOpenNothing(t *testing.T) {
	// An unknown kind, from a newer version, counts as an authenticator of the account, but
	// never as a proof (F3, F4).
	const smartcard = authenticator.Kind("smartcard")
	password := authenticator.Proof{Kind: authenticator.Password}
	if got := Next([]authenticator.Proof{password}, []authenticator.Kind{smartcard}, false); got != StageSecond {
		t.Errorf("account with an authenticator of an unknown kind: stage %d, want %d", got, StageSecond)
	}
	if got := Next([]authenticator.Proof{password, {Kind: smartcard}}, []authenticator.Kind{authenticator.TOTP}, false); got != StageSecond {
		t.Errorf("password and a proof of an unknown kind: stage %d, want %d", got, StageSecond)
	}
	if got := Next([]authenticator.Proof{{Kind: smartcard}}, nil, false); got != StageFirst {
		t.Errorf("only a proof of an unknown kind: stage %d, want %d", got, StageFirst)
	}
	if got := Next([]authenticator.Proof{{}}, nil, false); got != StageFirst {
		t.Errorf("empty proof: stage %d, want %d", got, StageFirst)
	}
}

func TestZeroStageIsTheFirst(t *testing.T) {
	var zero Stage
	if zero != StageFirst || Next(nil, nil, false) != zero {
		t.Error("an empty attempt is past the first proof")
	}
}

// The name of a set of proofs ends a key of the catalogue and stands in the audit log, so each
// set has one of these names.
func TestProofsNameNamesEverySet(t *testing.T) {
	names := map[string]int{}
	everyState(func(proven []authenticator.Proof, _ []authenticator.Kind, _ bool) {
		want := "password"
		for _, p := range proven { // from the weakest kind to the strongest
			switch p.Kind {
			case authenticator.TOTP:
				want = "password_totp"
			case authenticator.BackupCode:
				if want == "password" {
					want = "password_backup_code"
				}
			case authenticator.WebAuthn:
				want = "password_webauthn"
			case authenticator.Passkey:
				want = "passkey"
			}
		}
		if got := ProofsName(proven); got != want {
			t.Errorf("ProofsName(%v) = %s, want %s", proven, got, want)
		}
		names[want]++
	})
	if len(names) != len(authenticator.Kinds) {
		t.Errorf("names %v: not one for each kind", names)
	}
}
