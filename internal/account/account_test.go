package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/ticket"
)

func write(d *db.DB, change func(ctx context.Context, tx *db.Tx) error) error {
	ctx := context.Background()
	return d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) })
}

func add(d *db.DB, a Account) (Account, error) {
	err := write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = Create(ctx, tx, a, testkit.Start)
		return err
	})
	return a, err
}

func mustAdd(t *testing.T, d *db.DB, a Account) Account {
	t.Helper()
	a, err := add(d, a)
	testkit.Check(t, err)
	return a
}

// names maps names as typed to their normal form, or to "" if they are invalid.
var names = map[string]string{
	"ada": "ada", "ADA": "ada", "Ada": "ada", " ada ": "ada", "\tada\n": "ada", "ａｄａ": "ada", "ＡＤＡ": "ada", "\u3000ada\u00a0": "ada",
	"ada.lovelace-1_x": "ada.lovelace-1_x", "a": "a", "1": "1", "a+b": "a+b",
	"Jürgen": "jürgen", "JU\u0308RGEN": "jürgen", "李小龙": "李小龙", "ﾊﾅｺ": "ハナコ", "ÅNGSTRÖM": "ångström", "\u212Bngstr\u00f6m": "ångström", "דוד": "דוד",
	"a&secret=AAAA": "a&secret=aaaa", "a?issuer=Bank": "a?issuer=bank", "a:b": "a:b", "a%26x": "a%26x", "<b>": "<b>",
	strings.Repeat("x", 64): strings.Repeat("x", 64), strings.Repeat("é", 64): strings.Repeat("é", 64), strings.Repeat("e\u0301", 64): strings.Repeat("é", 64),

	"": "", " ": "", "\u3000": "", "ada lovelace": "", "ada\u00a0lovelace": "", "ada\tl": "", "ada\nl": "", "ada\x00": "", "ada\x7f": "",
	"ada@example.test": "", "ada＠example.test": "", "@": "", "ada🔐": "", "🔐": "", "☃": "", "ada\u202e": "", "\u202eada": "", "ada\u200b": "", "ada\u200d": "", "a\u00adda": "", "ada\ufeff": "",
	"ada\xff": "", "\xff": "", strings.Repeat("x", 65): "", strings.Repeat("李", 64): "", strings.Repeat("x", 1<<20): "", "ﬁ": "", "Ⅳ": "", "½": "", "adaד": "",
}

func TestNamesHaveOneForm(t *testing.T) {
	for in, want := range names {
		got, err := NormalizeName(in)
		if want != "" && (err != nil || got != want) {
			t.Errorf("NormalizeName(%.40q) = %q, %v; want %q", in, got, err, want)
		}
		if want == "" && (!errors.Is(err, ErrNameInvalid) || got != "") {
			t.Errorf("NormalizeName(%.40q) = %q, %v; want ErrNameInvalid", in, got, err)
		}
	}
}

// New names follow stricter rules; existing accounts are still found by their old names.
func TestNewNamesHaveALetterOrDigitAndNoDashInFront(t *testing.T) {
	for in, ok := range map[string]bool{
		"ada": true, "7": true, "a-b": true, "_x": true, "Größe": true, ".a": true,
		"-": false, "..": false, ".": false, "_": false, "--yes": false, "-ada": false, "a b": false, "": false,
	} {
		if _, err := CheckNewName(in); (err == nil) != ok || !ok && !errors.Is(err, ErrNameInvalid) {
			t.Errorf("CheckNewName(%q): %v, want valid %v", in, err, ok)
		}
	}
	if name, err := NormalizeName(".."); name != ".." || err != nil {
		t.Errorf("existing name \"..\": NormalizeName = %q, %v; want it unchanged", name, err)
	}
}

func FuzzNormalizeName(f *testing.F) {
	for in := range names {
		if len(in) < 200 {
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, err := NormalizeName(in)
		if err != nil {
			return
		}
		// Otherwise an account couldn't sign in with its name as displayed.
		if again, err := NormalizeName(name); err != nil || again != name {
			t.Fatalf("NormalizeName(%q) = %q, and NormalizeName of that = %q, %v; want it unchanged", in, name, again, err)
		}
		if name == "" || strings.ContainsAny(name, "@ \t\r\n\x00") || len([]rune(name)) > 64 {
			t.Fatalf("NormalizeName(%q) = %q, want 1 to 64 characters without spaces and @", in, name)
		}
	})
}

func TestEmailAddresses(t *testing.T) {
	for in, want := range map[string][2]string{ // kept, folded; empty if invalid
		"ada@example.test":          {"ada@example.test", "ada@example.test"},
		"Ada@Example.TEST":          {"Ada@Example.TEST", "ada@example.test"},
		" ada@example.test\n":       {"ada@example.test", "ada@example.test"},
		"ada+tag@example.test":      {"ada+tag@example.test", "ada+tag@example.test"},
		"o'hara@example.test":       {"o'hara@example.test", "o'hara@example.test"},
		"Jürgen@münchen.test":       {"Jürgen@münchen.test", "jürgen@münchen.test"},
		"ju\u0308rgen@example.test": {"jürgen@example.test", "jürgen@example.test"},
		"a@b":                       {"a@b", "a@b"},
		"ada":                       {}, "@": {}, "ada@": {}, "@example.test": {}, "ada@@example.test": {}, "a@b@c": {},
		"ada@example.test\r\nBcc: eve@evil.test": {}, "ada\x00@example.test": {}, "a b@example.test": {}, "ada@exam\u00a0ple.test": {}, "ada@exam\u202eple.test": {}, "ada@exam\u200bple.test": {},
		"<ada@example.test>": {}, "Ada <ada@example.test>": {}, "ada@example.test,eve@evil.test": {}, "ada@example.test;eve@evil.test": {}, `"a"@example.test`: {}, "a(c)@example.test": {}, "a@[127.0.0.1]": {}, `a\@example.test`: {}, "mailto:a@b": {},
		"a\xff@example.test": {}, strings.Repeat("a", 243) + "@example.test": {}, strings.Repeat("a", 1<<20) + "@b": {},
		strings.Repeat("a", 241) + "@example.test": {strings.Repeat("a", 241) + "@example.test", strings.Repeat("a", 241) + "@example.test"},
	} {
		kept, folded, err := NormalizeEmail(in)
		if kept != want[0] || folded != want[1] || (want[0] == "") != errors.Is(err, ErrEmailInvalid) {
			t.Errorf("NormalizeEmail(%.60q) = %.60q, %.60q, %v; want %.60q", in, kept, folded, err, want)
		}
	}
	for _, none := range []string{"", "  ", "\n"} {
		if kept, folded, err := NormalizeEmail(none); kept != "" || folded != "" || err != nil {
			t.Errorf("NormalizeEmail(%q) = %q, %q, %v; want none and no error", none, kept, folded, err)
		}
	}
}

func FuzzNormalizeEmail(f *testing.F) {
	f.Add("Ada@Example.TEST")
	f.Add("ju\u0308rgen@example.test")
	f.Add("İ@b")
	f.Fuzz(func(t *testing.T, in string) {
		kept, folded, err := NormalizeEmail(in)
		if err != nil || kept == "" {
			return
		}
		if len(kept) > 254 || strings.ContainsAny(kept, "\r\n\x00 <>,;") || strings.Count(kept, "@") != 1 {
			t.Fatalf("NormalizeEmail(%q) = %q, want one @ and at most 254 bytes", in, kept)
		}
		if keptAgain, foldedAgain, err := NormalizeEmail(kept); err != nil || keptAgain != kept || foldedAgain != folded {
			t.Fatalf("NormalizeEmail(%q) = %q, %q; and of the result %q, %q, %v; want the same", in, kept, folded, keptAgain, foldedAgain, err)
		}
	})
}

func TestDisplayNames(t *testing.T) {
	for in, want := range map[string]string{
		"Ada Lovelace": "Ada Lovelace", "  Ada  ": "Ada", "": "", "  ": "", "e\u0301": "é", "李小龙 🔐": "李小龙 🔐", "<b>Ada</b>": "<b>Ada</b>", "דוד": "דוד", strings.Repeat("é", 80): strings.Repeat("é", 80),
	} {
		if got, err := NormalizeDisplayName(in); err != nil || got != want {
			t.Errorf("NormalizeDisplayName(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	// No characters that reorder the text beside the name (attack 69) or break a header (attack
	// 71).
	for _, in := range []string{
		"Ada\u202e", "\u202dAda", "\u2066Ada", "Ada\u2069", "Ada\u200f", "\u061cAda", "Ada\u200b", "Ada\ufeff", "Ada\r\nX: y", "Ada\n", "a\x00", "a\tb", "\x1b[31m", "a\u2028b", "\xff", strings.Repeat("x", 81), strings.Repeat("x", 1<<20),
	} {
		got, err := NormalizeDisplayName(in)
		if in == "Ada\n" { // space at the ends is trimmed
			if got != "Ada" || err != nil {
				t.Errorf("NormalizeDisplayName(%q) = %q, %v; want Ada", in, got, err)
			}
			continue
		}
		if !errors.Is(err, ErrDisplayNameInvalid) || got != "" {
			t.Errorf("NormalizeDisplayName(%.20q) = %q, %v; want ErrDisplayNameInvalid", in, got, err)
		}
	}
	if got := (Account{Name: "ada"}).ShownName(); got != "ada" {
		t.Errorf("ShownName without a display name = %q, want ada", got)
	}
	if got := (Account{Name: "ada", DisplayName: "Ada L."}).ShownName(); got != "Ada L." {
		t.Errorf("ShownName with a display name = %q, want Ada L.", got)
	}
}

func TestEverySpellingLeadsToOneAccount(t *testing.T) {
	// Attack 8.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		want := mustAdd(t, d, Account{Name: "Jürgen", Email: "Jürgen@Example.test", DisplayName: " J. "})
		mustAdd(t, d, Account{Name: "eve"})
		for _, typed := range []string{
			"jürgen", "JÜRGEN", " jürgen ", "Jürgen", norm.NFD.String("jürgen"), norm.NFD.String("JÜRGEN"), "ｊürgen", "jürgen\t",
			"jürgen@example.test", "JÜRGEN@EXAMPLE.TEST", " Jürgen@Example.test ", norm.NFD.String("jürgen@example.test"),
		} {
			got, err := ByName(ctx, d.Reader(), typed)
			if err != nil || got.ID != want.ID {
				t.Errorf("ByName(%q) = %q, %v; want %q", typed, got.ID, err, want.ID)
			}
		}
		for _, typed := range []string{
			"", " ", "@", "jurgen", "jürgen ' OR 1=1", "%", "_______", "jürgen@", "@example.test", "jürgen@example", "jürgen\x00", "\xff", "jürgen@example.test\x00", strings.Repeat("j", 1<<20), strings.Repeat("j", 1<<20) + "@",
		} {
			if got, err := ByName(ctx, d.Reader(), typed); !errors.Is(err, db.ErrNotFound) || got != (Account{}) {
				t.Errorf("ByName(%.20q) = %+v, %v; want ErrNotFound", typed, got, err)
			}
		}
		if got, err := ByID(ctx, d.Reader(), want.ID); err != nil || got != want {
			t.Errorf("ByID = %+v, %v; want %+v", got, err, want)
		}
		if want.Role != Member || want.Name != "jürgen" || want.Email != "Jürgen@Example.test" || want.DisplayName != "J." || want.Disabled() || want.EnrollLocked || want.Stamp == "" {
			t.Errorf("created account has wrong fields: %+v", want)
		}
	})
}

func TestNamesAndAddressesAreUnique(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := mustAdd(t, d, Account{Name: "ada", Email: "ada@example.test"})
		eve := mustAdd(t, d, Account{Name: "eve"})
		mustAdd(t, d, Account{Name: "bob"}) // eve and bob both have no address
		for _, test := range []struct {
			a    Account
			want error
		}{
			{Account{Name: "ADA"}, ErrNameTaken},
			{Account{Name: "ａda"}, ErrNameTaken},
			{Account{Name: "new", Email: "ADA@EXAMPLE.TEST"}, ErrEmailTaken},
			{Account{Name: "a b"}, ErrNameInvalid},
			{Account{Name: "-"}, ErrNameInvalid},
			{Account{Name: "new", Email: "nonsense"}, ErrEmailInvalid},
			{Account{Name: "new", DisplayName: "\u202e"}, ErrDisplayNameInvalid},
		} {
			if got, err := add(d, test.a); !errors.Is(err, test.want) || got != (Account{}) {
				t.Errorf("Create(%+v) = %+v, %v; want %v", test.a, got, err, test.want)
			}
		}
		setEmail := func(id, email string) error {
			return write(d, func(ctx context.Context, tx *db.Tx) error { return SetEmail(ctx, tx, id, email) })
		}
		if err := setEmail(eve.ID, "Ada@example.test"); !errors.Is(err, ErrEmailTaken) {
			t.Errorf("eve sets ada's address: %v, want ErrEmailTaken", err)
		}
		if err := setEmail(ada.ID, "ADA@example.test"); err != nil {
			t.Errorf("ada sets her own address in another spelling: %v, want no error", err)
		}
		testkit.Check(t, setEmail(ada.ID, ""))
		if err := setEmail(eve.ID, "ada@example.test"); err != nil {
			t.Errorf("eve sets a free address: %v, want no error", err)
		}
	})
}

func TestOfManyCreatorsOneSucceeds(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		outcome := func(a Account) string {
			_, err := add(d, a)
			return testkit.Outcome(err)
		}
		got := testkit.Race(32, func(int) string { return outcome(Account{Name: "ada"}) })
		if got["ok"] != 1 || got[ErrNameTaken.Error()] != 31 {
			t.Errorf("32 accounts with one name = %v, want one ok", got)
		}
		got = testkit.Race(32, func(i int) string { return outcome(Account{Name: fmt.Sprint("n", i), Email: "one@example.test"}) })
		if got["ok"] != 1 || got[ErrEmailTaken.Error()] != 31 {
			t.Errorf("32 accounts with one address = %v, want one ok and 31 ErrEmailTaken", got)
		}
	})
}

func TestRestampAndDisable(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ada, eve := mustAdd(t, d, Account{Name: "ada"}), mustAdd(t, d, Account{Name: "eve"})
		want := ada
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
			want.Stamp, err = Restamp(ctx, tx, ada.ID)
			return errors.Join(err, SetDisabled(ctx, tx, ada.ID, testkit.Start), SetEnrollLocked(ctx, tx, ada.ID, true), SetDisplayName(ctx, tx, ada.ID, " Ada "), Lock(ctx, tx, ada.ID))
		}))
		want.DisabledAt, want.EnrollLocked, want.DisplayName = testkit.Start, true, "Ada"
		if got, err := ByID(ctx, d.Reader(), ada.ID); err != nil || got != want || got.Stamp == ada.Stamp || !got.Disabled() {
			t.Errorf("ada = %+v, %v; want %+v", got, err, want)
		}
		if got, err := ByID(ctx, d.Reader(), eve.ID); err != nil || got != eve {
			t.Errorf("eve = %+v, %v; want %+v", got, err, eve)
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { return SetDisabled(ctx, tx, ada.ID, time.Time{}) }))
		if got, err := ByID(ctx, d.Reader(), ada.ID); err != nil || got.Disabled() {
			t.Errorf("after enabling: %+v, %v; want an enabled account", got, err)
		}
		for name, change := range map[string]func(ctx context.Context, tx *db.Tx) error{
			"Restamp":     func(ctx context.Context, tx *db.Tx) error { _, err := Restamp(ctx, tx, "x"); return err },
			"SetDisabled": func(ctx context.Context, tx *db.Tx) error { return SetDisabled(ctx, tx, "x", testkit.Start) },
			"SetEmail":    func(ctx context.Context, tx *db.Tx) error { return SetEmail(ctx, tx, "x", "") },
			"Lock":        func(ctx context.Context, tx *db.Tx) error { return Lock(ctx, tx, "x") },
			"Remove":      func(ctx context.Context, tx *db.Tx) error { return Remove(ctx, tx, "x") },
		} {
			if err := write(d, change); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s of a missing account: %v, want ErrNotFound", name, err)
			}
		}
		if err := write(d, func(ctx context.Context, tx *db.Tx) error { return SetDisplayName(ctx, tx, ada.ID, "\u202e") }); !errors.Is(err, ErrDisplayNameInvalid) {
			t.Errorf("SetDisplayName: %v, want ErrDisplayNameInvalid", err)
		}
		// Roles that this version doesn't know (F3). "administrator" is shown to people, but never stored.
		for _, role := range []string{"root", "administrator", ""} {
			testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
				_, err := db.Exec(ctx, tx, `UPDATE accounts SET role = $2 WHERE id = $1`, eve.ID, role)
				return err
			}))
			if got, err := ByID(ctx, d.Reader(), eve.ID); err == nil || errors.Is(err, db.ErrNotFound) || got != (Account{}) {
				t.Errorf("role %q: %+v, %v; want an error", role, got, err)
			}
		}
	})
}

func TestListAndRemove(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		exist := func() bool {
			some, err := AnyExist(ctx, d.Reader())
			testkit.Check(t, err)
			return some
		}
		if exist() {
			t.Error("AnyExist is true for an empty database")
		}
		want := []string{"ada", "bob", "eve"}
		var ids []string
		for _, name := range []string{"eve", "ada", "bob"} {
			ids = append(ids, mustAdd(t, d, Account{Name: name}).ID)
		}
		list := func(after string) (names []string) {
			all, err := List(ctx, d.Reader(), after)
			testkit.Check(t, err)
			for _, a := range all {
				names = append(names, a.Name)
			}
			return names
		}
		if got := list(""); !slices.Equal(got, want) || !exist() {
			t.Errorf("List = %v, want %v", got, want)
		}
		if got := list("ada"); !slices.Equal(got, want[1:]) {
			t.Errorf("List after ada = %v, want %v", got, want[1:])
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			if err := AddGroup(ctx, tx, "ops", testkit.Start); err != nil {
				return err
			}
			if _, err := ticket.Issue(ctx, tx, ticket.Enroll, ids[0], testkit.Start); err != nil {
				return err
			}
			_, err := Join(ctx, tx, "ops", ids[0])
			return err
		}))
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { return Remove(ctx, tx, ids[0]) }))
		if got := list(""); !slices.Equal(got, want[:2]) {
			t.Errorf("List after Remove = %v, want %v", got, want[:2])
		}
		for _, table := range []string{"members", "tickets"} {
			var n int
			testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM `+table, nil, &n))
			if n != 0 {
				t.Errorf("%d rows in %s after Remove, want none", n, table)
			}
		}
	})
}
