package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// keysOf reads a whole list, two accounts at a time, and returns the keys of its rows.
func keysOf(t *testing.T, d *db.DB, s Search) (keys []string) {
	t.Helper()
	for range 100 {
		page, next, err := Find(t.Context(), d.Reader(), s, 2)
		testkit.Check(t, err)
		for _, f := range page {
			keys = append(keys, f.Key)
		}
		if next == "" {
			return keys
		}
		s.After = next
	}
	t.Fatal("the list doesn't end")
	return nil
}

func TestFindByTheBeginningOfNameAndAddress(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		for _, a := range []Account{
			{Name: "ada", Email: "Ada@Example.test"}, {Name: "ada-b", Email: "countess@example.test"}, {Name: "ad_c"}, {Name: "adé"},
			{Name: "bob", Email: "ada.bob@example.test"}, {Name: "a%"}, {Name: "eve", Role: Auditor}, {Name: "李小龙"},
		} {
			mustAdd(t, d, a)
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			bob, err := ByName(ctx, tx, "bob")
			testkit.Check(t, err)
			testkit.Check(t, SetTwoFactor(ctx, tx, bob.ID, testkit.Start))
			return SetDisabled(ctx, tx, bob.ID, testkit.Start)
		}))
		for _, test := range []struct {
			search Search
			want   string
		}{
			{Search{}, "a% ad_c ada ada-b adé bob eve 李小龙"},
			{Search{Prefix: " ADA "}, "ada ada-b ada.bob@example.test ada@example.test"}, // pages of two accounts list ada twice
			{Search{Prefix: "ada@"}, "ada@example.test"},
			{Search{Prefix: "COUNTESS@EX"}, "countess@example.test"},
			{Search{Prefix: "ADÉ"}, "adé"},
			{Search{Prefix: "李"}, "李小龙"},
			{Search{Prefix: "%"}, ""}, {Search{Prefix: "a%"}, "a%"}, {Search{Prefix: "ad_"}, "ad_c"},
			{Search{Prefix: "a\x00"}, ""}, {Search{Prefix: "\xff"}, ""}, {Search{Prefix: strings.Repeat("a", 999)}, ""},
			{Search{Filter: WhichAreDisabled}, "bob"}, {Search{Filter: WhichAreDisabled, Prefix: "ada"}, "ada.bob@example.test"},
			{Search{Filter: WithOneFactor, Prefix: "b"}, ""}, {Search{Filter: WithOneFactor, Prefix: "ad"}, "ad_c ada ada-b ada@example.test adé"},
			{Search{Filter: WithRole}, "eve"}, {Search{Filter: WithRole, Prefix: "a"}, ""},
			{Search{After: "zz"}, "李小龙"}, {Search{After: "\U0010FFFF"}, ""}, {Search{After: "a\x00"}, ""}, {Search{After: "\xff"}, ""},
		} {
			got := slices.Compact(keysOf(t, d, test.search))
			if strings.Join(got, " ") != test.want {
				t.Errorf("%+v: %q, want %q", test.search, strings.Join(got, " "), test.want)
			}
		}
		if _, _, err := Find(t.Context(), d.Reader(), Search{Filter: "nonsense"}, 2); err == nil {
			t.Error("Find accepts an unknown filter, want an error")
		}
		// A page lists an account once, even if its name and its address begin alike.
		page, next, err := Find(t.Context(), d.Reader(), Search{Prefix: "ada"}, 50)
		testkit.Check(t, err)
		if len(page) != 3 || next != "" {
			t.Errorf("%d accounts on one page, want 3 and no next page: %+v", len(page), page)
		}
	})
}

// Most accounts have a name and an address that begin alike. The list doesn't end before each
// account was on a page at least once.
func TestFindSkipsNoAccountWhoseNameAndAddressBeginAlike(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		for i := range 9 {
			name := fmt.Sprintf("user%d", i)
			mustAdd(t, d, Account{Name: name, Email: name + "@example.test"})
		}
		for n := 1; n <= 20; n++ {
			seen := map[string]bool{}
			search := Search{Prefix: "user"}
			for pages := 0; ; pages++ {
				page, next, err := Find(t.Context(), d.Reader(), search, n)
				testkit.Check(t, err)
				for _, f := range page {
					seen[f.Name] = true
				}
				if next == "" {
					break
				}
				if search.After = next; pages > 20 {
					t.Fatal("the list doesn't end")
				}
			}
			if len(seen) != 9 {
				t.Errorf("pages of %d: %d accounts, want 9", n, len(seen))
			}
		}
	})
}

// Case D-16: a page of a list of 20,000 accounts reads no more than its own rows.
func TestFindReadsNoMoreThanItsPage(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const n = 20_000
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			for first := 0; first < n; first += 500 {
				var rows []string
				for i := first; i < first+500; i++ {
					disabled, twoFactor, role := "NULL", "NULL", "member"
					if i%1000 == 0 {
						disabled, role = "1", "auditor"
					}
					if i%2 == 0 {
						twoFactor = "1"
					}
					rows = append(rows, fmt.Sprintf(`('id%d', 'name%05d', 'mail%05d@x', 'mail%05d@x', '', '', '%s', 's', FALSE, 1, %s, %s)`, i, i, i, i, role, disabled, twoFactor))
				}
				if _, err := db.Exec(ctx, tx, `INSERT INTO accounts (id, name, email, email_folded, display_name, locale, role, security_stamp, enroll_locked, created_at, disabled_at, two_factor_at)
					VALUES `+strings.Join(rows, ", ")); err != nil {
					return err
				}
			}
			if _, err := db.Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ('ops', 1), ('staff', 1)`); err != nil {
				return err
			}
			if _, err := db.Exec(ctx, tx, `INSERT INTO members SELECT 'staff', id FROM accounts`); err != nil {
				return err
			}
			if _, err := db.Exec(ctx, tx, `INSERT INTO members VALUES ('ops', 'id1'), ('ops', 'id2')`); err != nil {
				return err
			}
			for _, table := range []string{"accounts", "members"} {
				if _, err := db.Exec(ctx, tx, `ANALYZE `+table); err != nil {
					return err
				}
			}
			return nil
		}))
		// A policy for a small group counts its members only.
		query, args := countQuery([]string{"ops"}, false)
		if plan := planOf(t, d, query, args); !strings.Contains(plan, "members") || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "one_factor") {
			t.Errorf("the count for a group reads other accounts, want its members only:\n%s", plan)
		}
		for _, test := range []struct {
			groups    []string
			everybody bool
			want      int
		}{{[]string{"ops"}, false, 1}, {[]string{"ops", "staff"}, false, n / 2}, {nil, true, n / 2}, {[]string{"nobody"}, false, 0}} {
			if got, err := CountWithoutTwoFactor(t.Context(), d.Reader(), test.groups, test.everybody); err != nil || got != test.want {
				t.Errorf("without two-factor authentication in %v, everybody %t: %d, %v; want %d", test.groups, test.everybody, got, err, test.want)
			}
		}
		for filter := range conditions {
			for _, search := range []Search{{}, {Prefix: "n"}, {Prefix: "mail1"}, {After: "name19000"}} {
				search.Filter = filter
				for _, plan := range plansOf(t, d, search) {
					if !strings.Contains(plan, "accounts_") || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "SCAN accounts") || strings.Contains(strings.ToUpper(plan), "SORT") || strings.Contains(plan, "TEMP B-TREE") {
						t.Errorf("%+v: the statement scans or sorts, want it to use an index:\n%s", search, plan)
					}
				}
			}
		}
	})
}

// plansOf returns how the engine runs the statements of Find.
func plansOf(t *testing.T, d *db.DB, s Search) (plans []string) {
	t.Helper()
	prefix, _ := normalPrefix(s.Prefix)
	for _, column := range columnsOf(prefix) {
		query, args := findQuery(s, column, prefix, 51)
		plans = append(plans, planOf(t, d, query, args))
	}
	return plans
}

// planOf returns how the engine runs a statement.
func planOf(t *testing.T, d *db.DB, query string, args []any) string {
	t.Helper()
	explain := "EXPLAIN "
	if d.ServesOne() {
		explain = "EXPLAIN QUERY PLAN "
	}
	lines, err := db.All(t.Context(), d.Reader(), explain+query, args, func(scan db.Scan) (line string, err error) {
		if d.ServesOne() {
			var a, b, c int
			return line, scan(&a, &b, &c, &line)
		}
		return line, scan(&line)
	})
	testkit.Check(t, err)
	return strings.Join(lines, "\n")
}
