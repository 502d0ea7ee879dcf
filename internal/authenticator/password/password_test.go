package password

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

const good = "correct horse battery"

// create adds an account, with a password unless typed is empty, and returns its id.
func create(t *testing.T, d *db.DB, ring *secret.Ring, name, typed string) string {
	t.Helper()
	ctx := context.Background()
	var a account.Account
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) (err error) {
		a, err = account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		return err
	}))
	if typed != "" {
		set(t, d, ring, a.ID, testkit.Quick, typed)
	}
	return a.ID
}

func set(t *testing.T, d *db.DB, ring *secret.Ring, accountID string, p secret.Argon2id, typed string) {
	t.Helper()
	phc, err := Hash(p, typed)
	testkit.Check(t, err)
	ctx := context.Background()
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Set(ctx, tx, ring, accountID, phc, testkit.Start) }))
}

func verify(t *testing.T, d *db.DB, ring *secret.Ring, accountID, typed string) Outcome {
	t.Helper()
	o, err := Verify(context.Background(), d.Reader(), ring, testkit.Quick, accountID, typed)
	testkit.Check(t, err)
	return o
}

func TestCheckSaysWhatAPasswordMayBe(t *testing.T) {
	const least = 8
	for name, test := range map[string]struct {
		typed string
		want  error
	}{
		"empty":                       {"", ErrShort},
		"seven":                       {"1234567", ErrShort},
		"eight":                       {"k7qp3m9x", nil},
		"four emoji of four bytes":    {"🔐🔐🔐🔐", ErrShort},
		"eight emoji":                 {"🙂🙃😀😁😂🤣😃😄", nil},
		"64 emoji":                    {strings.Repeat("🙂🙃😀😁😂🤣😃😄", 8), nil},
		"seven letters in NFD":        {norm.NFD.String("éééé") + "abc", ErrShort},
		"256":                         {strings.Repeat("horsebat", 32), nil},
		"257":                         {strings.Repeat("x", 257), ErrLong},
		"256 emoji":                   {strings.Repeat("🙂🙃😀😁😂🤣😃😄", 32), nil},
		"257 emoji":                   {strings.Repeat("🔐", 257), ErrLong},
		"a million":                   {strings.Repeat("x", 1_000_000), ErrLong},
		"a million combining marks":   {"e" + strings.Repeat("\u0301", 1_000_000), ErrLong},
		"space around":                {"  k7qp3m9x  ", nil},
		"only spaces":                 {strings.Repeat(" ", 8), ErrCommon},
		"NUL":                         {"1234\x005678", ErrInvalid},
		"newline":                     {"12345678\n", ErrInvalid},
		"tab":                         {"1234\t5678", ErrInvalid},
		"escape":                      {"1234\x1b5678", ErrInvalid},
		"delete":                      {"1234\x7f5678", ErrInvalid},
		"not UTF-8":                   {"12345678\xff", ErrInvalid},
		"overlong UTF-8":              {"1234567\xc0\xaf", ErrInvalid},
		"surrogate half":              {"1234567\xed\xa0\x80", ErrInvalid},
		"text turned round":           {"1234567\u202e8", ErrInvalid},
		"Chinese":                     {"正确马电池订书钉们", nil},
		"Arabic":                      {"كلمةالمرور", nil},
		"like markup":                 {`'; DROP TABLE passwords; --`, nil},
		"a stored hash, typed":        {"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", nil},
		"percent, quotes, backslashs": {`%s%n"'\\`, nil},
	} {
		if got := Check(test.typed, least); !errors.Is(got, test.want) {
			t.Errorf("%s: Check = %v, want %v", name, got, test.want)
		}
	}
}

func TestNothingOfAPasswordIsCutOffOrIgnored(t *testing.T) {
	// Pairs that a careless hash treats as equal.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		long := strings.Repeat("0123456789", 8)
		for name, pair := range map[string][2]string{
			"tail past 72 bytes":      {long + "A", long + "B"},
			"longer than 72 bytes":    {long, long[:72]},
			"tail of 256":             {strings.Repeat("x", 255) + "A", strings.Repeat("x", 255) + "B"},
			"space behind":            {good + " ", good},
			"space before":            {" " + good, good},
			"two spaces":              {"correct  horse", "correct horse"},
			"case":                    {"Correct Horse", "correct horse"},
			"full width":              {"ｃorrect horse", "correct horse"},
			"64 emoji":                {strings.Repeat("🔐", 64), strings.Repeat("🔐", 63) + "🔑"},
			"compatibility character": {"ﬁnancial", "financial"},
		} {
			id := create(t, d, ring, "p"+strings.ReplaceAll(name, " ", "-"), pair[0])
			if !verify(t, d, ring, id, pair[0]).Match {
				t.Errorf("%s: the password itself doesn't match", name)
			}
			if verify(t, d, ring, id, pair[1]).Match {
				t.Errorf("%s: %.30q matches %.30q, want no match", name, pair[1], pair[0])
			}
		}
	})
}

func TestOnePasswordOnTwoKeyboardsIsTheSame(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		for name, typed := range map[string]string{
			"umlauts":             "Grüße aus Köln",
			"hangul":              "비밀번호가길어요",
			"vietnamese":          "mật khẩu của tôi",
			"128 hangul":          strings.Repeat("비밀번호가길다", 18),
			"the longest, hangul": strings.Repeat("비밀번호가길어요", MaxRunes/8),
		} {
			testkit.Check(t, Check(typed, 8))
			id := create(t, d, ring, "p"+strings.NewReplacer(" ", "-", ",", "").Replace(name), typed)
			for form, text := range map[string]string{"NFC": norm.NFC.String(typed), "NFD": norm.NFD.String(typed), "no-break space": strings.ReplaceAll(typed, " ", "\u00a0")} {
				if err := Check(text, 8); err != nil {
					t.Errorf("%s in %s: Check = %v, want nil", name, form, err)
				}
				if !verify(t, d, ring, id, text).Match {
					t.Errorf("%s in %s doesn't match", name, form)
				}
			}
		}
	})
}

func TestVerifyMatchesOnlyTheAccountsPassword(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		ada, none := create(t, d, ring, "ada", good), create(t, d, ring, "none", "")
		eve := create(t, d, ring, "eve", "another password")
		for _, test := range []struct {
			name, id, typed string
			want            Outcome
		}{
			{"right", ada, good, Outcome{Match: true}},
			{"wrong", ada, "wrong", Outcome{}},
			{"empty", ada, "", Outcome{}},
			{"broken", ada, good + "\xff", Outcome{}},
			{"control", ada, good + "\x00", Outcome{}},
			{"a million", ada, strings.Repeat("x", 1_000_000), Outcome{}},
			{"another's", eve, good, Outcome{}},
			{"account without a password", none, good, Outcome{}},
			{"account without a password, empty", none, "", Outcome{}},
			{"unknown account", "no-such-id", good, Outcome{}},
			{"no account", "", good, Outcome{}},
			{"no account, empty", "", "", Outcome{}},
		} {
			got := verify(t, d, ring, test.id, test.typed)
			got.sealed = ""
			if got != test.want {
				t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
			}
		}
	})
}

func TestUnusableTextNeverMatchesAnEmptyHash(t *testing.T) {
	// PRECIS refuses this text, so prepare returns "". It must not match an account whose
	// stored hash is that of "".
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, ctx := secret.NewRing(), context.Background()
		ada := create(t, d, ring, "ada", "")
		salt := make([]byte, saltBytes)
		text := secret.NewText(phc(testkit.Quick, salt, testkit.Quick.Key("", salt)))
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Set(ctx, tx, ring, ada, text, testkit.Start) }))
		for _, typed := range []string{"\x00", "\xff", strings.Repeat("x", 1_000_000), "a\nb"} {
			if verify(t, d, ring, ada, typed).Match {
				t.Errorf("%.10q matches, want no match", typed)
			}
		}
	})
}

func TestWeakHashIsRaisedAtSignIn(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, ctx := secret.NewRing(), context.Background()
		ada := create(t, d, ring, "ada", good)
		q := testkit.Quick
		for _, test := range []struct {
			name string
			p    secret.Argon2id
			weak bool
		}{
			{"same", q, false},
			{"more memory", secret.Argon2id{MemoryKiB: q.MemoryKiB + 1, Iterations: q.Iterations}, true},
			{"more iterations", secret.Argon2id{MemoryKiB: q.MemoryKiB, Iterations: q.Iterations + 1}, true},
			{"less", secret.Argon2id{MemoryKiB: q.MemoryKiB - 1, Iterations: q.Iterations}, false},
		} {
			got, err := Verify(ctx, d.Reader(), ring, test.p, ada, good)
			got.sealed = ""
			if err != nil || got != (Outcome{Match: true, Weak: test.weak}) {
				t.Errorf("%s: %+v, %v; want weak %v", test.name, got, err, test.weak)
			}
			if got, err := Verify(ctx, d.Reader(), ring, test.p, ada, "wrong"); err != nil || got != (Outcome{}) {
				t.Errorf("%s, wrong password: %+v, %v; want the zero Outcome", test.name, got, err)
			}
		}
		stronger := secret.Argon2id{MemoryKiB: 2 * q.MemoryKiB, Iterations: q.Iterations}
		markSuspect(t, d, ada)
		phc, err := Hash(stronger, good)
		testkit.Check(t, err)
		was := verify(t, d, ring, ada, good)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Rehash(ctx, tx, ring, ada, was, phc) }))
		got, err := Verify(ctx, d.Reader(), ring, stronger, ada, good)
		got.sealed = ""
		if err != nil || got != (Outcome{Match: true, Suspect: testkit.Start}) {
			t.Errorf("after the rehash: %+v, %v; want a match with the same suspect mark", got, err)
		}
		if changed, err := ChangedAt(ctx, d.Reader(), ada); err != nil || !changed.Equal(testkit.Start) {
			t.Errorf("changed at %v, %v; want a rehash to leave that time", changed, err)
		}
		// The row was written after the comparison. A rehash must not bring back the old password.
		old, err := Hash(stronger, "an earlier password")
		testkit.Check(t, err)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Rehash(ctx, tx, ring, ada, was, old) }))
		if !verify(t, d, ring, ada, good).Match {
			t.Error("a rehash replaced a password that was written after the comparison")
		}
	})
}

// markSuspect marks the account's password as suspect.
func markSuspect(t *testing.T, d *db.DB, id string) {
	t.Helper()
	ctx := context.Background()
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `UPDATE passwords SET suspect_at = $2 WHERE account_id = $1`, id, db.At{Time: testkit.Start})
		return err
	}))
}

func TestNewPasswordClearsASuspicion(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, ctx := secret.NewRing(), context.Background()
		ada, none := create(t, d, ring, "ada", good), create(t, d, ring, "none", "")
		markSuspect(t, d, ada)
		if since, err := SuspectSince(ctx, d.Reader(), ada); err != nil || !since.Equal(testkit.Start) {
			t.Errorf("suspect since %v, %v; want the time of the mark", since, err)
		}
		phc, err := Hash(testkit.Quick, "a new password")
		testkit.Check(t, err)
		later := testkit.Start.Add(time.Hour)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Set(ctx, tx, ring, ada, phc, later) }))
		if since, err := SuspectSince(ctx, d.Reader(), ada); err != nil || !since.IsZero() {
			t.Errorf("after the change: suspect since %v, %v; want never", since, err)
		}
		if changed, err := ChangedAt(ctx, d.Reader(), ada); err != nil || !changed.Equal(later) {
			t.Errorf("changed at %v, %v; want %v", changed, err, later)
		}
		if verify(t, d, ring, ada, good).Match || !verify(t, d, ring, ada, "a new password").Match {
			t.Error("the old password matches, or the new one doesn't")
		}
		for _, id := range []string{none, "unknown"} {
			if since, err := SuspectSince(ctx, d.Reader(), id); err != nil || !since.IsZero() {
				t.Errorf("%s: suspect since %v, %v; want never", id, since, err)
			}
			if changed, err := ChangedAt(ctx, d.Reader(), id); err != nil || !changed.IsZero() {
				t.Errorf("%s: changed at %v, %v; want never", id, changed, err)
			}
		}
	})
}

func TestDatabaseAloneVerifiesNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, ctx := secret.NewRing(), context.Background()
		ada, eve := create(t, d, ring, "ada", good), create(t, d, ring, "eve", "another password")
		stored, err := db.All(ctx, d.Reader(), `SELECT phc FROM passwords`,
			nil, func(scan db.Scan) (b []byte, err error) { return b, scan(&b) })
		testkit.Check(t, err)
		for _, sealed := range stored {
			for _, clear := range []string{"argon2id", "$v=", "m=64", good} {
				if bytes.Contains(sealed, []byte(clear)) {
					t.Errorf("the stored column has %q unsealed", clear)
				}
			}
		}
		if len(stored) != 2 {
			t.Errorf("%d passwords, want 2", len(stored))
		}
		// The wrong key ring is an error, not a mismatch (F4).
		if got, err := Verify(ctx, d.Reader(), secret.NewRing(), testkit.Quick, ada, good); !errors.Is(err, secret.ErrUnknownKey) || got != (Outcome{}) {
			t.Errorf("another key ring: %+v, %v; want ErrUnknownKey and the zero Outcome", got, err)
		}
		if err := CheckRing(ctx, d.Reader(), secret.NewRing()); !errors.Is(err, secret.ErrUnknownKey) {
			t.Errorf("CheckRing with another key ring: %v, want ErrUnknownKey", err)
		}
		testkit.Check(t, CheckRing(ctx, d.Reader(), ring))
		// Eve's hash in ada's row must not open ada's account.
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE passwords SET phc = (SELECT phc FROM passwords WHERE account_id = $1) WHERE account_id = $2`, eve, ada)
			return err
		}))
		if got, err := Verify(ctx, d.Reader(), ring, testkit.Quick, ada, "another password"); !errors.Is(err, secret.ErrOpen) || got != (Outcome{}) {
			t.Errorf("eve's hash in ada's row: %+v, %v; want ErrOpen and the zero Outcome", got, err)
		}
		// A sealed text that opens but isn't a PHC string of this package is an error too.
		for _, text := range []string{"", good, "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43), "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43)} {
			testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Set(ctx, tx, ring, ada, secret.NewText(text), testkit.Start) }))
			if got, err := Verify(ctx, d.Reader(), ring, testkit.Quick, ada, good); err == nil || got != (Outcome{}) {
				t.Errorf("stored %q: %+v, %v; want an error and the zero Outcome", text, got, err)
			}
		}
		testkit.Check(t, d.Close())
		if got, err := Verify(ctx, d.Reader(), ring, testkit.Quick, ada, good); !errors.Is(err, db.ErrUnavailable) || got != (Outcome{}) {
			t.Errorf("closed database (F1): %+v, %v; want ErrUnavailable and the zero Outcome", got, err)
		}
	})
}

func TestFreshDatabaseFitsAnyRing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		testkit.Check(t, CheckRing(context.Background(), d.Reader(), secret.NewRing()))
	})
}
