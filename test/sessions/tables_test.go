package sessions

// The tests in this file check for every table of the schema which rows of an account remain
// after a change, a removal and a restore.

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

// left says for each of three acts whether a row of an account remains after it: login.EndOthers
// without an exception, the account's removal, and the clean-up after a restore.
type left struct{ ended, removed, restored bool }

// ownedRow is a kind of row that belongs to an account.
type ownedRow struct {
	table string
	kind  string         // distinguishes rows of one table
	set   map[string]any // columns whose values matter; the others are filled by their types
	left  left
	why   string // the reason, where a row is left
}

var (
	nothing     = left{}
	untilGone   = left{ended: true, restored: true} // only the removal deletes it
	untilPurged = left{ended: true}                 // the removal and the restore delete it
)

// ownedRows has a decision about every table with rows of accounts. A row's parents come first.
var ownedRows = []ownedRow{
	{"accounts", "", nil, untilGone, "EndOthers gives it a new stamp"},
	{"members", "", map[string]any{"group_name": "ops"}, untilGone, "groups don't depend on how the account signs in"},
	{"passwords", "", nil, untilGone, "a change replaces it itself"},
	{"authenticators", "confirmed", map[string]any{"confirmed_at": testkit.Start.UnixMilli(), "kind": string(authenticator.TOTP)}, untilGone, "a change removes it itself"},
	{"totp", "confirmed", nil, untilGone, "as its authenticator"},
	{"backup_codes", "", nil, left{ended: true}, "they end with the last authenticator; a restore may lack their use"},
	{"tickets", string(ticket.LetIn), map[string]any{"kind": string(ticket.LetIn)}, nothing, ""},
	{"tickets", string(ticket.Invitation), map[string]any{"kind": string(ticket.Invitation)}, left{ended: true}, "the changes that it could undo revoke it themselves"},
	{"tickets", string(ticket.Enroll), map[string]any{"kind": string(ticket.Enroll)}, left{ended: true}, "the owner needs it after a new password too; disabling revokes it"},
	{"tickets", string(ticket.Reset), map[string]any{"kind": string(ticket.Reset)}, nothing, ""},
	{"tickets", string(ticket.Unlock), map[string]any{"kind": string(ticket.Unlock)}, nothing, ""},
	{"tickets", string(ticket.VerifyEmail), map[string]any{"kind": string(ticket.VerifyEmail)}, nothing, ""},
	{"tickets", string(ticket.UndoEmail), map[string]any{"kind": string(ticket.UndoEmail)}, left{ended: true}, "the owner's answer to a thief who changes the address, and then the password"},
	{"attempts", "", nil, nothing, ""},
	{"sessions", "", nil, nothing, ""},
	{"authenticators", "pending", map[string]any{"kind": string(authenticator.TOTP), "session_id": "sessions of %s"}, nothing, ""},
	{"totp", "pending", nil, nothing, ""},
	{"visits", "", nil, nothing, ""},
	{"handoffs", "", nil, nothing, ""},
	{"devices", "", nil, nothing, ""},
	{"passes", "", nil, nothing, ""},
	{"ledger", "", nil, untilGone, "a new password must not give a guesser new tries"},
	{"outbox", "", map[string]any{"kind": "mail"}, untilPurged, "the owner must learn of the change; most were sent before the restore"},
	{"outbox_quotas", "", map[string]any{"kind": "mail"}, untilPurged, "a change must not give a flood new quotas"},
	{"events", "", nil, left{true, true, true}, "the audit log keeps what happened"},
}

// unrelated has the reason why each other table has no rows of accounts.
var unrelated = map[string]string{
	"schema":            "one row: the version of the schema",
	"clock":             "one row: the high-water mark",
	"groups":            "the names of groups; members says who is in them",
	"leases":            "which node does a job",
	"nodes":             "the reports of nodes",
	"audit_head":        "one row: the last event of the audit chain",
	"audit_checkpoints": "where the audit chain was pruned",
}

// TestEveryTableOfAccountsHasADecision stores a row of an account in each table that has such rows, and
// compares the rows that remain after each of the three acts with ownedRows. The test fails for a new
// table until it is in ownedRows or in unrelated.
func TestEveryTableOfAccountsHasADecision(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		tables := tablesOfAccounts(t, p)
		checkDecisions(t, p, tables)
		for _, r := range ownedRows {
			if !slices.Contains(tables, r.table) {
				t.Errorf("ownedRows has the table %s, which has no rows of accounts", r.table)
			}
			if r.left != nothing && r.why == "" {
				t.Errorf("ownedRows says no reason why rows of %s are left", r.table)
			}
		}
		if t.Failed() {
			return
		}
		testkit.Check(t, p.Manage.Groups.Add(ctx, manage.CommandLine(), "ops"))
		other := newOwnedRows(t, p, "bob")
		ended := newOwnedRows(t, p, "ada")
		testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) error {
			_, err := login.EndOthers(ctx, tx, ended.account.ID, login.Spared{})
			return err
		}))
		ended.check(t, p, "EndOthers", func(l left) bool { return l.ended })
		removed := newOwnedRows(t, p, "eve")
		testkit.Check(t, p.Manage.Accounts.Remove(ctx, manage.CommandLine(), removed.account))
		removed.check(t, p, "the removal", func(l left) bool { return l.removed })
		other.check(t, p, "acts on other accounts", func(left) bool { return true })
		testkit.Check(t, maintenance.PurgeForgotten(ctx, p.DB, "a backup", p.Clock.Now(), false))
		other.check(t, p, "the restore", func(l left) bool { return l.restored })
	})
}

// checkDecisions checks that each table of the schema is either in ownedRows or in unrelated, and
// that those of accounts, as far as the schema tells, are in ownedRows.
func checkDecisions(t *testing.T, p *portal.Portal, ofAccounts []string) {
	t.Helper()
	existing := map[string]bool{}
	for _, c := range columnsOf(t, p) {
		existing[c.table] = true
	}
	for table := range existing {
		owned := slices.ContainsFunc(ownedRows, func(r ownedRow) bool { return r.table == table })
		_, isUnrelated := unrelated[table]
		if owned == isUnrelated || isUnrelated && slices.Contains(ofAccounts, table) {
			t.Errorf("table %s: if it has rows of accounts, decide in ownedRows what login.EndOthers, Accounts.Remove and maintenance.PurgeForgotten leave of them, and let those three act so; if not, say why in unrelated", table)
		}
	}
	for table, why := range unrelated {
		if !existing[table] || why == "" {
			t.Errorf("unrelated has the table %s, which doesn't exist or has no reason", table)
		}
	}
}

// TestNewTablesOfAccountsAreFound checks that tablesOfAccounts finds new tables with rows of accounts,
// with and without foreign keys.
func TestNewTablesOfAccountsAreFound(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
			for _, statement := range []string{
				`CREATE TABLE by_name (id TEXT PRIMARY KEY, account_id TEXT NOT NULL)`,
				`CREATE TABLE by_key (id TEXT PRIMARY KEY, owner TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE)`,
				`CREATE TABLE by_parent (id TEXT PRIMARY KEY, parent TEXT NOT NULL REFERENCES by_key (id) ON DELETE CASCADE)`,
				`CREATE TABLE by_session (session_id TEXT PRIMARY KEY)`,
				`CREATE TABLE unrelated (id TEXT PRIMARY KEY)`,
			} {
				if _, err := db.Exec(t.Context(), tx, statement); err != nil {
					return err
				}
			}
			return nil
		}))
		found := tablesOfAccounts(t, p)
		for table, want := range map[string]bool{"by_name": true, "by_key": true, "by_parent": true, "by_session": true, "unrelated": false} {
			if got := slices.Contains(found, table); got != want {
				t.Errorf("table %s is found: %v, want %v", table, got, want)
			}
		}
	})
}

// column is a column of a table.
type column struct {
	table, name, kind string
	needed            bool // NOT NULL, without a default
}

func columnsOf(t *testing.T, p *portal.Portal) []column {
	t.Helper()
	query := `SELECT table_name, column_name, data_type, is_nullable = 'NO' AND column_default IS NULL
		FROM information_schema.columns WHERE table_schema = 'public' ORDER BY ordinal_position`
	if p.DB.ServesOne() { // SQLite
		query = `SELECT m.name, c.name, lower(c.type), (c."notnull" = 1 OR c.pk > 0) AND c.dflt_value IS NULL
			FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY c.cid`
	}
	all, err := db.All(t.Context(), p.DB.Reader(), query, nil, func(scan db.Scan) (c column, err error) {
		return c, scan(&c.table, &c.name, &c.kind, &c.needed)
	})
	testkit.Check(t, err)
	return all
}

// tablesOfAccounts returns the table accounts and every table whose rows belong to accounts: by a
// foreign key or a column such as account_id, directly or through such a table.
func tablesOfAccounts(t *testing.T, p *portal.Portal) []string {
	t.Helper()
	query := `SELECT child.relname, parent.relname FROM pg_constraint k
		JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid WHERE k.contype = 'f'`
	if p.DB.ServesOne() {
		query = `SELECT m.name, k."table" FROM sqlite_master m, pragma_foreign_key_list(m.name) k WHERE m.type = 'table'`
	}
	refers, err := db.All(t.Context(), p.DB.Reader(), query, nil, func(scan db.Scan) (r [2]string, err error) {
		return r, scan(&r[0], &r[1])
	})
	testkit.Check(t, err)
	for _, c := range columnsOf(t, p) {
		if noun, ok := strings.CutSuffix(c.name, "_id"); ok {
			refers = append(refers, [2]string{c.table, noun + "s"})
		}
	}
	found := map[string]bool{"accounts": true}
	for before := 0; before < len(found); {
		before = len(found)
		for _, r := range refers {
			if found[r[1]] {
				found[r[0]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// ownedRowsOf are the rows of one account that newOwnedRows stored.
type ownedRowsOf struct {
	account account.Account
	where   []string // a condition for each of ownedRows
	args    [][]any
}

// newOwnedRows creates an account and stores each of ownedRows for it. Values of text and bytes
// say which row of which account they are for, as "sessions of ID"; a column such as session_id
// has the id of that row. Times are an hour ahead, so that no row expires.
func newOwnedRows(t *testing.T, p *portal.Portal, name string) (rows ownedRowsOf) {
	t.Helper()
	ctx, all := t.Context(), columnsOf(t, p)
	testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if rows.account, err = account.Create(ctx, tx, account.Account{Name: name}, p.Clock.Now()); err != nil {
			return err
		}
		for _, r := range ownedRows {
			if r.table == "accounts" {
				rows.where, rows.args = append(rows.where, `id = $1`), append(rows.args, []any{rows.account.ID})
				continue
			}
			if err := rows.insert(ctx, tx, r, all, p.Clock.Now().Add(time.Hour)); err != nil {
				return fmt.Errorf("%s: %w", r.table, err)
			}
		}
		return nil
	}))
	return rows
}

func (rows *ownedRowsOf) insert(ctx context.Context, tx *db.Tx, r ownedRow, all []column, at time.Time) error {
	nameOf := func(table, kind string) string { return strings.TrimSpace(table+" "+kind) + " of " + rows.account.ID }
	var names, gaps, where []string
	var values, key []any
	for _, c := range all {
		set, isSet := r.set[c.name]
		if c.table != r.table || !c.needed && !isSet && c.name != "account_id" {
			continue
		}
		var value any
		switch parent, isID := strings.CutSuffix(c.name, "_id"); {
		case c.name == "account_id":
			value = rows.account.ID
		case isSet:
			value = set
			if text, ok := set.(string); ok && strings.Contains(text, "%s") {
				value = fmt.Sprintf(text, rows.account.ID)
			}
		case isID && parent == "authenticator":
			value = nameOf("authenticators", r.kind)
		case isID:
			value = nameOf(parent+"s", "")
		case c.kind == "text":
			value = nameOf(r.table, r.kind)
		case c.kind == "bytea":
			value = []byte(nameOf(r.table, r.kind))
		case c.kind == "boolean":
			value = false
		default:
			value = at.UnixMilli()
		}
		names, values = append(names, c.name), append(values, value)
		gaps = append(gaps, fmt.Sprintf("$%d", len(names)))
		if c.kind == "text" || c.kind == "bytea" {
			key = append(key, value)
			where = append(where, fmt.Sprintf("%s = $%d", c.name, len(key)))
		}
	}
	rows.where, rows.args = append(rows.where, strings.Join(where, " AND ")), append(rows.args, key)
	_, err := db.Exec(ctx, tx, fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s)`, r.table, strings.Join(names, ", "), strings.Join(gaps, ", ")), values...)
	return err
}

// check compares which rows are left with what want says of each.
func (rows ownedRowsOf) check(t *testing.T, p *portal.Portal, after string, want func(left) bool) {
	t.Helper()
	for i, r := range ownedRows {
		got := portal.CountRows(t, p, `SELECT COUNT(*) FROM `+r.table+` WHERE `+rows.where[i], rows.args[i]...) == 1
		if got != want(r.left) {
			t.Errorf("after %s, the row %s %s is left: %v, want %v %s", after, r.table, r.kind, got, !got, r.why)
		}
	}
}
