package authenticator

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// The factors of SP 800-63B.
const (
	knowledge  = "something you know"
	possession = "something you have"
)

// meaning says what a proof of each kind shows, and whether it is bound to the site's name.
var meaning = map[Kind]struct {
	factors []string
	bound   bool
}{
	Password:   {[]string{knowledge}, false},
	TOTP:       {[]string{possession}, false},
	BackupCode: {[]string{possession}, false},
	WebAuthn:   {[]string{possession}, true},
	Passkey:    {[]string{knowledge, possession}, true},
}

// everySet calls visit with a proof of each kind in a set, for every set of kinds and in two orders.
func everySet(kinds []Kind, visit func([]Proof)) {
	for set := range 1 << len(kinds) {
		var proofs []Proof
		for i, k := range kinds {
			if set&(1<<i) != 0 {
				proofs = append(proofs, Proof{Kind: k, ID: strconv.Itoa(i)})
			}
		}
		visit(proofs)
		slices.Reverse(proofs)
		visit(proofs)
	}
}

func TestLevelsFollowFromTheFactorsOfEverySet(t *testing.T) {
	sets := 0
	everySet(append([]Kind{"smartcard", ""}, Kinds...), func(proofs []Proof) {
		sets++
		factors, bound := map[string]bool{}, false
		for _, p := range proofs {
			for _, factor := range meaning[p.Kind].factors {
				factors[factor] = true
			}
			bound = bound || meaning[p.Kind].bound
		}
		if got, want := AAL(proofs), len(factors); got != want {
			t.Errorf("AAL(%v) = %d, want %d", proofs, got, want)
		}
		// Every kind that is bound to the name is something you have. So two factors suffice if
		// one of them is bound.
		if got, want := PhishingResistant(proofs), len(factors) == 2 && bound; got != want {
			t.Errorf("PhishingResistant(%v) = %t, want %t", proofs, got, want)
		}
		if got, want := HasFirst(proofs), factors[knowledge]; got != want {
			t.Errorf("HasFirst(%v) = %t, want %t", proofs, got, want)
		}
	})
	if sets != 2*128 {
		t.Errorf("%d sets, want %d", sets, 2*128)
	}
}

// declaredKinds returns the values of the constants of type Kind in authenticator.go.
func declaredKinds(t *testing.T) (kinds []Kind) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "authenticator.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Kind" {
			for _, value := range spec.Values {
				text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, Kind(text))
			}
		}
		return true
	})
	return kinds
}

func TestEveryKindIsKnownEverywhere(t *testing.T) {
	declared := declaredKinds(t)
	if len(declared) < 5 || !slices.Equal(declared, Kinds) || len(meaning) != len(Kinds) {
		t.Fatalf("declared %v, listed %v, tested %d; want the same kinds, at least 5", declared, Kinds, len(meaning))
	}
	for _, k := range Kinds {
		proofs := []Proof{{Kind: k, ID: "a", At: testkit.Start.UTC()}}
		if AAL(proofs) == 0 {
			t.Errorf("a proof of kind %s counts as nothing, want a level", k)
		}
		if got, err := ParseProofs(EncodeProofs(proofs)); err != nil || !slices.Equal(got, proofs) {
			t.Errorf("proof of kind %s is stored as %q and read as %v, %v; want it unchanged", k, EncodeProofs(proofs), got, err)
		}
	}
}

func TestSinceHasAnEarliestAndALatestTime(t *testing.T) {
	const window, ahead = 10 * time.Minute, 90 * time.Second
	now := testkit.Start
	for age, want := range map[time.Duration]bool{
		365 * 24 * time.Hour: false, window + time.Millisecond: false, window: true, window - 1: true, time.Second: true, 0: true,
		-time.Second: true, -ahead: true, -ahead - time.Millisecond: false, -time.Hour: false, -400 * 24 * time.Hour: false,
	} {
		for _, k := range Kinds {
			proof := Proof{Kind: k, At: now.Add(-age)}
			if got := len(Since([]Proof{proof}, now.Add(-window), now)) == 1; got != want {
				t.Errorf("a proof of kind %s that is %v old counts: %t, want %t", k, age, got, want)
			}
		}
	}
	// A proof counts only once the clock is within 90 s of the proof's date. It then counts as made
	// at that date.
	if got := Since([]Proof{{Kind: Password, At: now}}, now.Add(time.Hour), now.Add(time.Hour)); len(got) != 0 {
		t.Errorf("Since a later time = %v, want none", got)
	}
}

func TestAnAuthenticatorHasOneProof(t *testing.T) {
	key := func(k Kind, after time.Duration) []Proof { return []Proof{proofAt(k, "key", after)} }
	for _, first := range []Kind{WebAuthn, Passkey} {
		for _, second := range []Kind{WebAuthn, Passkey} {
			if got := Merge(key(first, 0), key(second, 1)); !slices.Equal(got, key(second, 1)) {
				t.Errorf("%s, then %s of the same authenticator: %v, want the second only", first, second, got)
			}
		}
	}
	// With the most authenticators that an account can have, a session can be read after any
	// number of proofs.
	var proofs []Proof
	for i := range 500 {
		at := time.Duration(i)
		proofs = Merge(proofs, []Proof{
			proofAt(Password, "", at), proofAt(BackupCode, "", at), proofAt(TOTP, fmt.Sprint("phone", i%MaxTOTP), at),
			proofAt([]Kind{WebAuthn, Passkey}[i/7%2], fmt.Sprint("key", i%MaxWebAuthn), at),
		})
		if _, err := ParseProofs(EncodeProofs(proofs)); err != nil {
			t.Fatalf("after %d merges: %v, want no error", i+1, err)
		}
	}
	if len(proofs) != maxProofs || maxProofs != 17 {
		t.Errorf("%d proofs of 15 authenticators, a password and a backup code, limit %d", len(proofs), maxProofs)
	}
}

// Each kind has its own limit, so that one kind can't use up the places of the other.
func TestLimitsOfKindsAreSeparate(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		enroll := func(kind Kind, i int) error {
			session := fmt.Sprint(kind, i)
			return f.write(func(ctx context.Context, tx *db.Tx) error {
				a, err := CreatePending(ctx, tx, f.ada, session, kind, testkit.Start)
				if err != nil {
					return err
				}
				a.Name = session
				return Confirm(ctx, tx, session, a, testkit.Start)
			})
		}
		got := map[string]int{}
		for i := range 20 {
			for _, kind := range []Kind{WebAuthn, TOTP} {
				got[fmt.Sprint(kind, " ", testkit.Outcome(enroll(kind, i)))]++
			}
		}
		want := map[string]int{
			"webauthn ok": 10, "webauthn " + ErrLimit.Error(): 10,
			"totp ok": 5, "totp " + ErrLimit.Error(): 15,
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("twenty enrolments of each kind: %v, want %v", got, want)
		}
		all := f.list(f.ada)
		if len(all) != 15 || len(OfKind(all, TOTP)) != 5 || len(OfKind(all, WebAuthn)) != 10 || len(OfKind(all, Passkey)) != 0 {
			t.Errorf("%d authenticators: %v, want 15: 5 TOTP authenticators and 10 of WebAuthn", len(all), all)
		}
		for _, kind := range []Kind{Password, BackupCode, Passkey, "smartcard", ""} {
			if err := enroll(kind, 0); err == nil {
				t.Errorf("an authenticator of kind %q was enrolled, want an error", kind)
			}
		}
	})
}
