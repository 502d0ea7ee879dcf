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
		{"one factor, password 90 seconds in the future", Bearer{SignedIn: true, Proofs: list(proof(password, -90*time.Second))}, Admit, Admit},
		{"one factor, password too far in the future", Bearer{SignedIn: true, Proofs: list(proof(password, -90*time.Second-time.Millisecond))}, Admit, Reauthenticate},
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

// A policy only adds to what a demand asks for.
func TestR32PolicyOnlyAddsToDemands(t *testing.T) {
	now := testkit.Start
	password := authenticator.Proof{Kind: authenticator.Password, At: now}
	both := []authenticator.Proof{password, {Kind: authenticator.TOTP, At: now}}
	stale := []authenticator.Proof{{Kind: authenticator.Password, At: now.Add(-time.Hour)}}
	for _, test := range []struct {
		name   string
		bearer Bearer
		want   map[Requirement]Verdict
	}{
		{"no session", Bearer{}, map[Requirement]Verdict{Session: SignIn, TwoFactor: SignIn, Fresh: SignIn}},
		{"no authenticator", Bearer{SignedIn: true, Proofs: both[:1]}, map[Requirement]Verdict{Session: Enroll, TwoFactor: Enroll, Fresh: Enroll}},
		{"no authenticator, stale password", Bearer{SignedIn: true, Proofs: stale}, map[Requirement]Verdict{Session: Enroll, TwoFactor: Enroll, Fresh: Enroll}},
		{"no authenticator, an operator's pass", Bearer{SignedIn: true, Vouched: true}, map[Requirement]Verdict{Session: Enroll, TwoFactor: Enroll, Fresh: Enroll}},
		{"two factors", Bearer{SignedIn: true, TwoFactor: true, Proofs: both}, map[Requirement]Verdict{Session: Admit, TwoFactor: Admit, Fresh: Admit}},
		{"two factors, password only", Bearer{SignedIn: true, TwoFactor: true, Proofs: both[:1]}, map[Requirement]Verdict{Session: Reauthenticate, TwoFactor: Reauthenticate, Fresh: Reauthenticate}},
		{"two factors, an operator's pass", Bearer{SignedIn: true, TwoFactor: true, Vouched: true}, map[Requirement]Verdict{Session: Admit, TwoFactor: Admit, Fresh: Admit}},
	} {
		test.bearer.Required = true
		test.want[Public], test.want[Closed] = Admit, Deny
		for requirement, want := range test.want {
			if got := Check(Demand{Requirement: requirement}, test.bearer, now); got != want {
				t.Errorf("%s, requirement %d: verdict %d, want %d", test.name, requirement, got, want)
			}
		}
		if test.bearer.SignedIn {
			if got := Check(Demand{Requirement: Session, Groups: []string{"ops"}}, test.bearer, now); got != Deny {
				t.Errorf("%s, another group: verdict %d, want %d", test.name, got, Deny)
			}
		}
	}
}

// TestZeroValuesDeny checks rule F5 (docs/threat-model.md): a route whose requirement was never
// set admits no request.
func TestZeroValuesDeny(t *testing.T) {
	var (
		requirement Requirement
		verdict     Verdict
	)
	if requirement != Closed || verdict != Deny || Check(Demand{Requirement: requirement}, Bearer{SignedIn: true}, testkit.Start) != Deny {
		t.Errorf("zero requirement %d, zero verdict %d; want Closed, Deny, and a route with the zero requirement to refuse every session", requirement, verdict)
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

// TestEveryCombinationOfProofsAndAges compares the results of Check, for every kind of proof at
// every kind of age, with this rule: a demand for recent proofs is met by a recent password or
// passkey and, if the account has a second factor, a recent proof of it. Proofs too far in the
// future don't count.
func TestEveryCombinationOfProofsAndAges(t *testing.T) {
	const age = 5 * time.Minute
	recent := map[time.Duration]bool{ // by how long ago
		age: true, -90 * time.Second: true, age + time.Millisecond: false, -90*time.Second - time.Millisecond: false,
	}
	var ages []time.Duration
	for ago := range recent {
		ages = append(ages, ago)
	}
	sets := 1
	for range authenticator.Kinds {
		sets *= len(ages) + 1
	}
	for set := range sets {
		var proofs []authenticator.Proof
		isRecent := map[authenticator.Kind]bool{}
		for i, rest := 0, set; i < len(authenticator.Kinds); i, rest = i+1, rest/(len(ages)+1) {
			if n := rest % (len(ages) + 1); n < len(ages) {
				proofs = append(proofs, authenticator.Proof{Kind: authenticator.Kinds[i], At: testkit.Start.Add(-ages[n])})
				isRecent[authenticator.Kinds[i]] = recent[ages[n]]
			}
		}
		password, passkey := isRecent[authenticator.Password], isRecent[authenticator.Passkey]
		second := isRecent[authenticator.TOTP] || isRecent[authenticator.BackupCode] || isRecent[authenticator.WebAuthn]
		for twoFactor, met := range map[bool]bool{false: password || passkey, true: passkey || password && second} {
			want := Reauthenticate
			if met {
				want = Admit
			}
			b := Bearer{SignedIn: true, Proofs: proofs, TwoFactor: twoFactor}
			if got := Check(Demand{Requirement: Session, MaxAge: age}, b, testkit.Start); got != want {
				t.Fatalf("two-factor authentication %t, proofs %v at %v: verdict %d, want %d", twoFactor, proofs, testkit.Start, got, want)
			}
		}
	}
}

// If a wrong clock dates a proof 400 days ahead, the proof isn't fresh before the right clock has
// reached that date.
func TestProofsOfAWrongClockAreNotFreshForAYear(t *testing.T) {
	const ahead = 400 * 24 * time.Hour
	at := testkit.Start.Add(ahead)
	b := Bearer{SignedIn: true, TwoFactor: true, Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: at}, {Kind: authenticator.TOTP, At: at}}}
	for later := time.Duration(0); later < ahead-90*time.Second; later += 7 * time.Hour {
		for _, d := range []Demand{{Requirement: Fresh}, {Requirement: Session, MaxAge: time.Minute}, {Requirement: TwoFactor, MaxAge: time.Hour}} {
			if got := Check(d, b, testkit.Start.Add(later)); got != Reauthenticate {
				t.Fatalf("%+v, %v after: verdict %d, want %d", d, later, got, Reauthenticate)
			}
		}
	}
}
