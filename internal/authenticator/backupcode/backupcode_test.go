package backupcode

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// cheap is the lowest cost of Argon2id.
var cheap = secret.Argon2id{MemoryKiB: 8, Iterations: 1}

// create adds an account and returns its id.
func create(t *testing.T, d *db.DB, name string) string {
	t.Helper()
	var a account.Account
	testkit.Check(t, d.Write(context.Background(), func(tx *db.Tx) (err error) {
		a, err = account.Create(context.Background(), tx, account.Account{Name: name}, testkit.Start)
		return err
	}))
	return a.ID
}

func issue(t *testing.T, d *db.DB, ring *secret.Ring, accountID string, p secret.Argon2id) Set {
	t.Helper()
	set, ctx := NewSet(p), context.Background()
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Issue(ctx, tx, ring, accountID, set, testkit.Start) }))
	return set
}

func redeem(d *db.DB, accountID, id string) error {
	ctx := context.Background()
	return d.Write(ctx, func(tx *db.Tx) error { return Redeem(ctx, tx, accountID, id, testkit.Start.Add(time.Hour)) })
}

// match returns the id of the account's code that typed matches, or "".
func match(t *testing.T, d *db.DB, ring *secret.Ring, p secret.Argon2id, accountID, typed string) string {
	t.Helper()
	code, err := Normalize(typed)
	testkit.Check(t, err)
	id, err := Match(context.Background(), d.Reader(), ring, p, accountID, code)
	testkit.Check(t, err)
	return id
}

func left(t *testing.T, d *db.DB, accountID string) int {
	t.Helper()
	n, err := Left(context.Background(), d.Reader(), accountID)
	testkit.Check(t, err)
	return n
}

func TestAThousandSetsHaveNoCodeTwice(t *testing.T) {
	// Attack 50.
	seen, count := map[string]bool{}, map[rune]int{}
	for range 1000 {
		set := NewSet(cheap)
		if len(set.Codes) != 10 || len(set.hashes) != 10 {
			t.Fatalf("%d codes and %d hashes, want 10 each", len(set.Codes), len(set.hashes))
		}
		for _, code := range set.Codes {
			if len(code) != 14 || code[4] != '-' || code[9] != '-' || seen[code] {
				t.Fatalf("code %q: wrong form, or a repetition (%v)", code, seen[code])
			}
			seen[code] = true
			for _, r := range strings.ReplaceAll(code, "-", "") {
				count[r]++
			}
		}
	}
	// 32 equally likely symbols: 5 bits each, 60 in a code.
	for _, r := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
		if n := count[r]; n < 3750-500 || n > 3750+500 {
			t.Errorf("%c occurs %d times in 120,000 symbols, want about 3,750", r, n)
		}
		delete(count, r)
	}
	if len(count) > 0 {
		t.Errorf("symbols outside Crockford's alphabet: %v", count)
	}
}

// forms maps what a person may type to its normal form, or to "" if it is malformed.
var forms = map[string]string{
	"7K3M-9QXT-B2HV":         "7K3M9QXTB2HV",
	"7k3m-9qxt-b2hv":         "7K3M9QXTB2HV",
	"7K3M9QXTB2HV":           "7K3M9QXTB2HV",
	"7k3m 9qxt b2hv":         "7K3M9QXTB2HV",
	" 7K3M - 9QXT - B2HV ":   "7K3M9QXTB2HV",
	"7-K-3-M-9-Q-X-T-B-2H-V": "7K3M9QXTB2HV",
	"OoIi-LlOo-IiLl":         "001111001111",
	"0011-1100-1111":         "001111001111",
	"ZZZZ-ZZZZ-ZZZZ":         "ZZZZZZZZZZZZ",

	"": "", "-": "", "            ": "", "7K3M-9QXT-B2H": "", "7K3M-9QXT-B2HVV": "", "7K3M-9QXT-B2HU": "", "7k3m-9qxt-b2hu": "",
	"7K3M-9QXT-B2H!": "", "7K3M_9QXT_B2HV": "", "7K3M-9QXT-B2HV\n": "", "7K3M\t9QXT\tB2HV": "", "7K3M\u20119QXT\u2011B2HV": "", "7K3M\u00a09QXTB2HV": "",
	"７K3M9QXTB2HV": "", "7K3M9QXTB2H\x00": "", "7K3M9QXTB2H\xff": "", "7K3M9QXTBé": "", "ｏＯ3M9QXTB2": "", "ı111-1111-1111": "", "ſ111-1111-1111": "",
	"7K3M-9QXT-B2HV" + strings.Repeat(" ", 51): "", strings.Repeat("7", 1<<20): "", strings.Repeat("-", 1<<20): "",
}

func TestNormalizeReadsWhatAPersonTypes(t *testing.T) {
	for typed, want := range forms {
		got, err := Normalize(typed)
		if want != "" && (err != nil || got != want) {
			t.Errorf("Normalize(%.30q) = %q, %v; want %q", typed, got, err, want)
		}
		if want == "" && (err != ErrMalformed || got != "") {
			t.Errorf("Normalize(%.30q) = %q, %v; want ErrMalformed", typed, got, err)
		}
	}
	for _, code := range NewSet(cheap).Codes {
		if got, err := Normalize(code); err != nil || got != strings.ReplaceAll(code, "-", "") {
			t.Errorf("Normalize(%q) = %q, %v; want it without dashes", code, got, err)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for typed := range forms {
		if len(typed) < 100 {
			f.Add(typed)
		}
	}
	f.Fuzz(func(t *testing.T, typed string) {
		code, err := Normalize(typed)
		if err != nil {
			if code != "" {
				t.Fatalf("Normalize(%q) = %q with %v; want \"\"", typed, code, err)
			}
			return
		}
		if len(code) != 12 || strings.Trim(code, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" {
			t.Fatalf("Normalize(%q) = %q, want 12 symbols of the alphabet", typed, code)
		}
		for _, again := range []string{code, strings.ToLower(code), code[:4] + "-" + code[4:8] + "-" + code[8:], strings.NewReplacer("0", "o", "1", "l").Replace(code)} {
			if got, err := Normalize(again); err != nil || got != code {
				t.Fatalf("Normalize(%q) = %q, %v; want %q", again, got, err, code)
			}
		}
	})
}

func TestMatchFindsOnlyTheOwnersUnusedCodes(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		ada, eve, nobody := create(t, d, "ada"), create(t, d, "eve"), create(t, d, "nobody")
		set := issue(t, d, ring, ada, testkit.Quick)
		issue(t, d, ring, eve, testkit.Quick)
		ids := map[string]bool{}
		for _, code := range set.Codes {
			ids[match(t, d, ring, testkit.Quick, ada, strings.ToLower(code))] = true
			for _, other := range []string{eve, nobody, ""} {
				if id := match(t, d, ring, testkit.Quick, other, code); id != "" {
					t.Errorf("ada's code matches for account %q (attack 46)", other)
				}
			}
		}
		if len(ids) != 10 || ids[""] {
			t.Errorf("ten codes match %d ids, \"\" among them: %v; want 10, and false", len(ids), ids[""])
		}
		id := match(t, d, ring, testkit.Quick, ada, set.Codes[3])
		if err := redeem(d, eve, id); !errors.Is(err, ErrUsed) {
			t.Errorf("eve redeems ada's code: %v, want ErrUsed", err)
		}
		testkit.Check(t, redeem(d, ada, id))
		if got := match(t, d, ring, testkit.Quick, ada, set.Codes[3]); got != "" {
			t.Error("a used code matches (attack 43)")
		}
		if n := left(t, d, ada); n != 9 {
			t.Errorf("%d codes left, want 9", n)
		}
		if n := left(t, d, eve); n != 10 {
			t.Errorf("eve has %d codes left, want 10", n)
		}
		if got := match(t, d, ring, testkit.Quick, ada, "0000-0000-0000"); got != "" {
			t.Error("a code that no account has matches")
		}
	})
}

func TestWhatIsStoredIsNeverAccepted(t *testing.T) {
	// A stored hash, salt or sealed text isn't accepted as a code, in any encoding (R11).
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		ada := create(t, d, "ada")
		set := issue(t, d, ring, ada, testkit.Quick)
		var inputs [][]byte
		for i, hash := range set.hashes {
			inputs = append(inputs, hash, []byte(strings.ReplaceAll(set.Codes[i], "-", ""))[:11])
		}
		inputs = append(inputs, set.salt)
		stored, err := db.All(ctx, d.Reader(), `SELECT hash FROM backup_codes`,
			nil, func(scan db.Scan) (b []byte, err error) { return b, scan(&b) })
		testkit.Check(t, err)
		if len(stored) != 10 {
			t.Fatalf("%d rows, want 10", len(stored))
		}
		for _, sealed := range stored {
			for _, hash := range set.hashes {
				if strings.Contains(string(sealed), string(hash[:8])) {
					t.Error("the database has an unsealed hash")
				}
			}
		}
		for _, input := range append(inputs, stored...) {
			for _, typed := range []string{string(input), hex.EncodeToString(input), base64.StdEncoding.EncodeToString(input), base64.RawURLEncoding.EncodeToString(input)} {
				// Call Match directly, without Normalize.
				if id, err := Match(ctx, d.Reader(), ring, testkit.Quick, ada, typed); err != nil || id != "" {
					t.Errorf("%.20q matches %q, %v; want \"\"", typed, id, err)
				}
			}
		}
	})
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	// Attack 44.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		ada := create(t, d, "ada")
		set := issue(t, d, ring, ada, testkit.Quick)
		id := match(t, d, ring, testkit.Quick, ada, set.Codes[0])
		got := testkit.Race(32, func(int) string { return testkit.Outcome(redeem(d, ada, id)) })
		if got["ok"] != 1 || got[ErrUsed.Error()] != 31 {
			t.Errorf("32 callers redeem one code = %v, want one ok", got)
		}
		if n := left(t, d, ada); n != 9 {
			t.Errorf("%d left, want 9", n)
		}
		if err := redeem(d, ada, "no such row"); !errors.Is(err, ErrUsed) {
			t.Errorf("an unknown code: %v, want ErrUsed", err)
		}
	})
}

func TestNewSetKillsTheOld(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		ada, eve := create(t, d, "ada"), create(t, d, "eve")
		old, others := issue(t, d, ring, ada, testkit.Quick), issue(t, d, ring, eve, testkit.Quick)
		oldID := match(t, d, ring, testkit.Quick, ada, old.Codes[0])
		set := issue(t, d, ring, ada, testkit.Quick)
		for _, code := range old.Codes {
			if match(t, d, ring, testkit.Quick, ada, code) != "" {
				t.Error("a code of the old set matches")
			}
		}
		if err := redeem(d, ada, oldID); !errors.Is(err, ErrUsed) {
			t.Errorf("a code of the old set, matched before the new one was issued: %v, want ErrUsed", err)
		}
		if match(t, d, ring, testkit.Quick, ada, set.Codes[9]) == "" || match(t, d, ring, testkit.Quick, eve, others.Codes[9]) == "" {
			t.Error("a code of the new set, or of another account, doesn't match")
		}
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return RemoveAll(ctx, tx, ada) }))
		if n := left(t, d, ada); n != 0 || match(t, d, ring, testkit.Quick, ada, set.Codes[0]) != "" {
			t.Errorf("%d codes left after RemoveAll, or one matches; want none", n)
		}
		if n := left(t, d, eve); n != 10 {
			t.Errorf("eve has %d codes left, want 10", n)
		}
	})
}

func TestSetKeepsTheCostItWasMadeWith(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		ada := create(t, d, "ada")
		set := issue(t, d, ring, ada, testkit.Quick)
		raised := secret.Argon2id{MemoryKiB: 128, Iterations: 2}
		if match(t, d, ring, raised, ada, set.Codes[0]) == "" {
			t.Error("existing codes don't match after the cost was raised")
		}
		for _, change := range []string{"memory_kib = 7", "memory_kib = 1048577", "iterations = 0", "iterations = 65"} {
			rollback := errors.New("put it back")
			err := d.Write(ctx, func(tx *db.Tx) error {
				if _, err := db.Exec(ctx, tx, `UPDATE backup_codes SET `+change); err != nil {
					return err
				}
				if id, err := Match(ctx, tx, ring, testkit.Quick, ada, strings.ReplaceAll(set.Codes[0], "-", "")); err == nil || id != "" {
					t.Errorf("%s: matched %q, %v; want an error", change, id, err)
				}
				return rollback
			})
			if !errors.Is(err, rollback) {
				t.Fatal(err)
			}
		}
	})
}

func TestMatchWithoutItsKeyIsAnErrorNotAMismatch(t *testing.T) {
	// A key that is missing or doesn't fit is an error (F4).
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		ada, eve := create(t, d, "ada"), create(t, d, "eve")
		code := strings.ReplaceAll(issue(t, d, ring, ada, testkit.Quick).Codes[0], "-", "")
		if id, err := Match(ctx, d.Reader(), secret.NewRing(), testkit.Quick, ada, code); !errors.Is(err, secret.ErrUnknownKey) || id != "" {
			t.Errorf("another key ring: %q, %v; want ErrUnknownKey", id, err)
		}
		// Move ada's rows to eve in the database.
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE backup_codes SET account_id = $1`, eve)
			return err
		}))
		if id, err := Match(ctx, d.Reader(), ring, testkit.Quick, eve, code); !errors.Is(err, secret.ErrOpen) || id != "" {
			t.Errorf("ada's rows under eve's account: %q, %v; want ErrOpen", id, err)
		}
		testkit.Check(t, d.Close())
		for name, err := range map[string]error{
			"Match":  func() error { _, err := Match(ctx, d.Reader(), ring, testkit.Quick, eve, code); return err }(),
			"Left":   func() error { _, err := Left(ctx, d.Reader(), eve); return err }(),
			"Redeem": redeem(d, eve, "x"),
		} {
			if !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("%s on a closed database (F1): %v, want ErrUnavailable", name, err)
			}
		}
	})
}

func TestConfirmIsForTheSetThatWasShown(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, ctx := secret.NewRing(), context.Background()
		ada, bob := create(t, d, "ada"), create(t, d, "bob")
		current := func(account string) (string, bool) {
			t.Helper()
			id, confirmed, err := Current(ctx, d.Reader(), account)
			testkit.Check(t, err)
			return id, confirmed
		}
		confirm := func(account, set string) {
			t.Helper()
			testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Confirm(ctx, tx, account, set) }))
		}
		if id, _ := current(ada); id != "" {
			t.Errorf("an account without codes has the set %q, want \"\"", id)
		}
		older := issue(t, d, ring, ada, testkit.Quick)
		set := issue(t, d, ring, ada, testkit.Quick)
		others := issue(t, d, ring, bob, testkit.Quick)
		if id, confirmed := current(ada); !slices.Contains(set.ids, id) || confirmed {
			t.Errorf("a new set: %q, confirmed %t; want one of %q, false", id, confirmed, set.ids)
		}
		for name, id := range map[string]string{"the set before": older.ID(), "another account's set": others.ID(), "no set": ""} {
			confirm(ada, id)
			if _, confirmed := current(ada); confirmed {
				t.Errorf("%s confirmed the current one", name)
			}
		}
		testkit.Check(t, redeem(d, ada, set.ID())) // a used code leaves the set as it is
		confirm(ada, set.ID())
		if id, confirmed := current(ada); !slices.Contains(set.ids, id) || !confirmed {
			t.Errorf("after Confirm: %q, confirmed %t; want one of %q, true", id, confirmed, set.ids)
		}
		if _, confirmed := current(bob); confirmed {
			t.Error("ada's confirmation confirmed bob's codes")
		}
		// Each id of a set identifies it, whatever order the database gives text.
		for i := range Count {
			set := issue(t, d, ring, ada, testkit.Quick)
			confirm(ada, set.ids[i])
			if _, confirmed := current(ada); !confirmed {
				t.Errorf("the id of code %d didn't confirm its set", i+1)
			}
		}
	})
}
