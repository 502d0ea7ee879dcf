package authenticator

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// proofAt returns a proof made at [testkit.Start] plus offset.
func proofAt(k Kind, id string, offset time.Duration) Proof {
	return Proof{Kind: k, ID: id, At: testkit.Start.Add(offset)}
}

func TestMergeReplacesOlderProofs(t *testing.T) {
	old := []Proof{proofAt(Password, "", 0), proofAt(TOTP, "a", 0)}
	for name, test := range map[string]struct{ newer, want []Proof }{
		"nothing":        {nil, old},
		"a new password": {[]Proof{proofAt(Password, "", 1)}, []Proof{proofAt(TOTP, "a", 0), proofAt(Password, "", 1)}},
		"a new code":     {[]Proof{proofAt(TOTP, "a", 1)}, []Proof{proofAt(Password, "", 0), proofAt(TOTP, "a", 1)}},
		"a backup code":  {[]Proof{proofAt(BackupCode, "", 1)}, []Proof{proofAt(Password, "", 0), proofAt(TOTP, "a", 0), proofAt(BackupCode, "", 1)}},
		"both new":       {[]Proof{proofAt(Password, "", 1), proofAt(TOTP, "a", 1)}, []Proof{proofAt(Password, "", 1), proofAt(TOTP, "a", 1)}},
	} {
		before := append([]Proof(nil), old...)
		if diff := cmp.Diff(test.want, Merge(old, test.newer)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(before, old); diff != "" {
			t.Errorf("%s: Merge changed its argument:\n%s", name, diff)
		}
	}
	if got := Merge(nil, nil); len(got) != 0 {
		t.Errorf("Merge(nil, nil) = %v, want none", got)
	}
	// After any number of reauthentications the list has one proof of each authenticator and
	// can be parsed.
	var proofs []Proof
	for i := range 50 {
		proofs = Merge(proofs, []Proof{proofAt(Password, "", time.Duration(i)), proofAt(TOTP, string(rune('a'+i%MaxTOTP)), time.Duration(i)), proofAt(BackupCode, "", time.Duration(i))})
		if _, err := ParseProofs(EncodeProofs(proofs)); err != nil {
			t.Fatalf("after %d merges: %v, want no error", i+1, err)
		}
	}
}

func TestWithoutDropsTheGivenProofs(t *testing.T) {
	proofs := []Proof{proofAt(Password, "", 0), proofAt(TOTP, "a", 0), proofAt(TOTP, "b", 0)}
	got := Without(proofs, func(p Proof) bool { return p.ID == "a" })
	if diff := cmp.Diff([]Proof{proofs[0], proofs[2]}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(proofs) != 3 || proofs[1].ID != "a" {
		t.Error("Without changed its argument")
	}
	if got := Without(proofs, func(Proof) bool { return true }); AAL(got) != 0 {
		t.Errorf("Without all proofs = %v, want none", got)
	}
}

func TestProofsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Proof
		for range rapid.IntRange(0, maxProofs).Draw(t, "proofs") {
			p := Proof{
				Kind: rapid.SampledFrom(Kinds).Draw(t, "kind"),
				At:   time.UnixMilli(rapid.Int64().Draw(t, "ms")).UTC(),
			}
			if rapid.Bool().Draw(t, "id") {
				p.ID = secret.NewID()
			}
			want = append(want, p)
		}
		got, err := ParseProofs(EncodeProofs(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

func TestMalformedProofsAreDenied(t *testing.T) {
	// Text that can't be parsed is an error (F3).
	for _, text := range []string{
		",", ":", "::", "password", "password:", "password::", "password::x", "password::1.5", "password::+1", "password::01", "password:: 1", "password::1 ", "password::0x1", "password::-0",
		"PASSWORD::1", " password::1", "smartcard:id:1", ":id:1", "totp:a:b:1", "password::1,", ",password::1", "password::1,,totp:a:1", "password::1;totp:a:1",
		"password::9223372036854775808", strings.TrimSuffix(strings.Repeat("totp:a:1,", maxProofs+1), ","), strings.Repeat(",", 1<<20),
	} {
		if got, err := ParseProofs(text); err == nil || got != nil {
			t.Errorf("ParseProofs(%.40q) = %v, %v; want an error", text, got, err)
		}
	}
	if got, err := ParseProofs(""); err != nil || len(got) != 0 {
		t.Errorf("ParseProofs(\"\") = %v, %v; want none", got, err)
	}
}

func FuzzProofs(f *testing.F) {
	f.Add("")
	f.Add("password::1700000000000,totp:abcdefghijklmnopqrst:1700000000001,backup_code::1700000000002")
	f.Add(EncodeProofs([]Proof{{Kind: Password, At: time.UnixMilli(math.MinInt64)}, {Kind: TOTP, At: time.UnixMilli(math.MaxInt64)}}))
	f.Fuzz(func(t *testing.T, text string) {
		proofs, err := ParseProofs(text)
		if err != nil {
			return
		}
		if got := EncodeProofs(proofs); got != text {
			t.Fatalf("parsed %q, printed %q", text, got)
		}
	})
}
