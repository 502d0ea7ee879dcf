package access

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestCheckAnswersEveryRequirementForEveryBearer(t *testing.T) {
	proof := func(k authenticator.Kind, ago time.Duration) authenticator.Proof {
		return authenticator.Proof{Kind: k, At: testkit.Start.Add(-ago)}
	}
	const (
		now   = time.Duration(0)
		last  = FreshFor
		stale = FreshFor + time.Millisecond
	)
	password, code, backup := authenticator.Password, authenticator.TOTP, authenticator.BackupCode
	list := func(proofs ...authenticator.Proof) []authenticator.Proof { return proofs }
	for _, test := range []struct {
		name           string
		bearer         Bearer
		session, fresh Verdict
	}{
		{"no session", Bearer{}, SignIn, SignIn},
		{"no session, but proofs", Bearer{Proofs: list(proof(password, now), proof(code, now))}, SignIn, SignIn},
		{"no session, account with two factors", Bearer{TwoFactor: true}, SignIn, SignIn},

		{"one factor, fresh password", Bearer{SignedIn: true, Proofs: list(proof(password, now))}, Admit, Admit},
		{"one factor, password ten minutes old", Bearer{SignedIn: true, Proofs: list(proof(password, last))}, Admit, Admit},
		{"one factor, stale password", Bearer{SignedIn: true, Proofs: list(proof(password, stale))}, Admit, Reauthenticate},
		{"one factor, no proof left", Bearer{SignedIn: true}, Admit, Reauthenticate},
		{"one factor, fresh code only", Bearer{SignedIn: true, Proofs: list(proof(code, now))}, Admit, Reauthenticate},
		{"one factor, stale password, fresh code", Bearer{SignedIn: true, Proofs: list(proof(password, stale), proof(code, now))}, Admit, Reauthenticate},

		{"two factors, both fresh", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, now), proof(code, now))}, Admit, Admit},
		{"two factors, both ten minutes old", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(code, last), proof(password, last))}, Admit, Admit},
		{"two factors, with a backup code", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, now), proof(backup, now))}, Admit, Admit},
		{"two factors, password only", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, now))}, Admit, Reauthenticate},
		{"two factors, code only", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(code, now))}, Admit, Reauthenticate},
		{"two factors, stale code", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, now), proof(code, stale))}, Admit, Reauthenticate},
		{"two factors, stale password", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, stale), proof(code, now))}, Admit, Reauthenticate},
		{"two factors, both stale (attack 83)", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, stale), proof(code, stale))}, Admit, Reauthenticate},
		{"two factors, code and backup code", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(code, now), proof(backup, now))}, Admit, Reauthenticate},
		{"two factors, unknown kinds", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof("x", now), proof(password, now))}, Admit, Reauthenticate},
		{"one factor, password a minute in the future", Bearer{SignedIn: true, Proofs: list(proof(password, -time.Minute))}, Admit, Admit},
		{"one factor, password too far in the future", Bearer{SignedIn: true, Proofs: list(proof(password, -maxClockDifference-time.Millisecond))}, Admit, Reauthenticate},
		{"one factor, password a year in the future", Bearer{SignedIn: true, Proofs: list(proof(password, -365*24*time.Hour))}, Admit, Reauthenticate},
		{"two factors, code in the future", Bearer{SignedIn: true, TwoFactor: true, Proofs: list(proof(password, now), proof(code, -time.Hour))}, Admit, Reauthenticate},

		{"two factors, no proof left", Bearer{SignedIn: true, TwoFactor: true}, Admit, Reauthenticate},
	} {
		for requirement, want := range map[Requirement]Verdict{
			Closed: Deny, Public: Admit, Session: test.session, Fresh: test.fresh, Fresh + 1: Deny, -1: Deny,
		} {
			if got := Check(Demand{Requirement: requirement}, test.bearer, testkit.Start); got != want {
				t.Errorf("%s, requirement %d: verdict %d, want %d", test.name, requirement, got, want)
			}
		}
	}
}

// TestZeroValuesDeny holds F5: a value that was never set closes the route.
func TestZeroValuesDeny(t *testing.T) {
	var (
		requirement Requirement
		verdict     Verdict
	)
	if requirement != Closed || verdict != Deny || Check(Demand{Requirement: requirement}, Bearer{SignedIn: true}, testkit.Start) != Deny {
		t.Error("a route without a requirement is open, or the zero verdict admits")
	}
}

func TestMaxAgeDoesNotLengthenFresh(t *testing.T) {
	stale := Bearer{SignedIn: true, Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: testkit.Start.Add(-FreshFor - time.Millisecond)}}}
	for _, age := range []time.Duration{-time.Hour, 0, FreshFor, time.Hour} {
		if got := Check(Demand{Requirement: Fresh, MaxAge: age}, stale, testkit.Start); got != Reauthenticate {
			t.Errorf("maximum age %v: verdict %d for a stale password, want %d", age, got, Reauthenticate)
		}
	}
}
