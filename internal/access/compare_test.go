package access

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestR22WhichDemandAsksForLess(t *testing.T) {
	const less, more, same, neither = "less", "more", "same", "neither"
	ops, staff := []string{"ops"}, []string{"staff"}
	for _, test := range []struct {
		name string
		a, b Demand
		want string
	}{
		{"nothing and a session", Demand{Requirement: Public}, Demand{Requirement: Session}, less},
		{"a session and two factors", Demand{Requirement: Session}, Demand{Requirement: TwoFactor}, less},
		{"two factors and closed", Demand{Requirement: TwoFactor}, Demand{}, less},
		{"a session and a fresh one", Demand{Requirement: Session}, Demand{Requirement: Fresh}, less},
		{"two factors and a fresh session", Demand{Requirement: TwoFactor}, Demand{Requirement: Fresh}, neither},
		{"two fresh factors and a fresh session", Demand{Requirement: TwoFactor, MaxAge: FreshFor}, Demand{Requirement: Fresh}, more},
		{"fresh and ten minutes", Demand{Requirement: Fresh}, Demand{Requirement: Session, MaxAge: FreshFor}, same},
		{"any age and eight hours", Demand{Requirement: Session}, Demand{Requirement: Session, MaxAge: 8 * time.Hour}, less},
		{"two factors of any age and a session of eight hours", Demand{Requirement: TwoFactor}, Demand{Requirement: Session, MaxAge: 8 * time.Hour}, neither},
		{"any group and one", Demand{Requirement: Session}, Demand{Requirement: Session, Groups: ops}, less},
		{"two groups and one of them", Demand{Requirement: Session, Groups: []string{"staff", "ops"}}, Demand{Requirement: Session, Groups: ops}, less},
		{"one group and another", Demand{Requirement: Session, Groups: staff}, Demand{Requirement: Session, Groups: ops}, neither},
		{"one group with two factors and another", Demand{Requirement: TwoFactor, Groups: staff}, Demand{Requirement: Session, Groups: ops}, neither},
		{"a group and two factors", Demand{Requirement: Session, Groups: ops}, Demand{Requirement: TwoFactor}, neither},
		{"the same groups in another order", Demand{Requirement: Session, Groups: []string{"a", "b"}}, Demand{Requirement: Session, Groups: []string{"b", "a", "b"}}, same},
		{"nothing, for a group", Demand{Requirement: Public, Groups: ops, MaxAge: time.Hour}, Demand{Requirement: Public}, same},
		{"two unknown requirements", Demand{Requirement: -1}, Demand{Requirement: Fresh + 1, Groups: ops}, same},
	} {
		for _, way := range []struct {
			a, b Demand
			want string
		}{
			{test.a, test.b, test.want},
			{test.b, test.a, map[string]string{less: more, more: less, same: same, neither: neither}[test.want]},
		} {
			got := neither
			switch ab, ba := covers(way.a, way.b), covers(way.b, way.a); {
			case ab && ba:
				got = same
			case ab:
				got = more
			case ba:
				got = less
			}
			if got != way.want {
				t.Errorf("%s: compared with %[4]v, %[2]v asks for: %[3]s; want: %[5]s", test.name, way.a, got, way.b, way.want)
			}
			if _, ok := stricter(way.a, way.b); ok != (got != neither) {
				t.Errorf("%s: stricter finds a stricter demand: %t, want %t", test.name, ok, !ok)
			}
		}
	}
}

// TestR22ComparingAgreesWithCheck compares covers with its definition in terms of Check:
// a covers b exactly if b admits each bearer that a admits.
func TestR22ComparingAgreesWithCheck(t *testing.T) {
	groups := [][]string{nil, {"a"}, {"b"}, {"a", "b"}, {"b", "a", "b"}}
	const never = -1
	ages := []time.Duration{never, 0, 5 * time.Minute, 7 * time.Minute, FreshFor, time.Hour, 9 * time.Hour}
	var bearers []Bearer
	for _, password := range ages {
		for _, code := range ages {
			var proofs []authenticator.Proof
			if password != never {
				proofs = append(proofs, authenticator.Proof{Kind: authenticator.Password, At: testkit.Start.Add(-password)})
			}
			if code != never {
				proofs = append(proofs, authenticator.Proof{Kind: authenticator.TOTP, At: testkit.Start.Add(-code)})
			}
			for _, in := range groups {
				for _, twoFactor := range []bool{false, true} {
					bearers = append(bearers,
						Bearer{SignedIn: true, Proofs: proofs, TwoFactor: twoFactor, Groups: in},
						Bearer{Proofs: proofs, TwoFactor: twoFactor, Groups: in})
				}
			}
		}
	}
	var demands []Demand
	var admits [][]bool
	for requirement := Requirement(-1); requirement <= Fresh+1; requirement++ {
		for _, of := range groups {
			for _, age := range []time.Duration{-time.Hour, 0, 5 * time.Minute, FreshFor, 8 * time.Hour} {
				d := Demand{Requirement: requirement, Groups: of, MaxAge: age}
				in := make([]bool, len(bearers))
				for i, b := range bearers {
					in[i] = Check(d, b, testkit.Start) == Admit
				}
				demands, admits = append(demands, d), append(admits, in)
			}
		}
	}
	for i, a := range demands {
		for j, b := range demands {
			want := true
			for k := range bearers {
				if admits[i][k] && !admits[j][k] {
					want = false
					break
				}
			}
			if got := covers(a, b); got != want {
				t.Fatalf("covers(%+v, %+v) = %t, want %t", a, b, got, want)
			}
		}
	}
}
