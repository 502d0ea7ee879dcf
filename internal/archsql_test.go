package internal

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checkTables checks that only the SQL of its owner names a table.
func checkTables(s source) []string {
	if isForTests(s.pkg) {
		return nil
	}
	var faults []string
	seen := map[ast.Node]bool{} // parts of a concatenation that was checked as a whole
	ast.Inspect(s.file, func(n ast.Node) bool {
		expr, ok := n.(ast.Expr)
		if !ok || seen[n] {
			return true
		}
		for _, table := range tables(text(expr, seen)) {
			switch owner, ok := ownerOf(table); {
			case !ok:
				faults = append(faults, s.fault(n, "table %s has no owner; add it to the owners", table))
			case owner != s.pkg:
				faults = append(faults, s.fault(n, "table %s belongs to %s; call that", table, owner))
			}
		}
		return true
	})
	return faults
}

// checkCached checks that a function which changes cached rows invalidates the cache.
// In package account, the function set does so for its callers.
func checkCached(s source) []string {
	if isForTests(s.pkg) {
		return nil
	}
	var faults []string
	for _, decl := range s.file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || slices.Contains(silent, s.pkg+"/"+f.Name.Name) {
			continue
		}
		changed, invalidates := "", false
		seen := map[ast.Node]bool{}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch fun := call.Fun.(type) {
				case *ast.SelectorExpr:
					invalidates = invalidates || fun.Sel.Name == "Changed"
				case *ast.Ident:
					invalidates = invalidates || fun.Name == "changeOne" && s.pkg == "internal/account"
				}
			}
			expr, ok := n.(ast.Expr)
			if !ok || seen[n] {
				return true
			}
			sql := strings.TrimSpace(text(expr, seen))
			if all := tables(sql); len(all) > 0 && !strings.HasPrefix(sql, "SELECT") && slices.Contains(cached, all[0]) {
				changed = all[0]
			}
			return true
		})
		if changed != "" && !invalidates {
			faults = append(faults, s.fault(f, "%s changes %s, which are cached: call tx.Changed", f.Name.Name, changed))
		}
	}
	return faults
}

// text returns the text of a string literal or of a concatenation, with a question mark
// for each part that isn't a literal. It marks the parts as seen.
func text(expr ast.Expr, seen map[ast.Node]bool) string {
	switch e := expr.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			seen[e] = true
			value, _ := strconv.Unquote(e.Value) // the parser accepted it, so there is no error
			return value
		}
	case *ast.ParenExpr:
		return text(e.X, seen)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			seen[e] = true
			return text(e.X, seen) + text(e.Y, seen)
		}
	}
	return "?"
}

// tables returns the tables that an SQL statement names after FROM, INTO, UPDATE and JOIN, in
// order. The result is empty if sql isn't a statement.
func tables(sql string) []string {
	words := sqlWord.FindAllString(sqlQuoted.ReplaceAllString(sql, "''"), -1)
	if len(words) == 0 || !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, words[0]) {
		return nil
	}
	at := func(i int) string {
		if i < 0 || i >= len(words) {
			return ""
		}
		return words[i]
	}
	isName := func(word string) bool { return word != "" && (word[0] == '_' || 'a' <= word[0] && word[0] <= 'z') }
	var names, withQueries []string // withQueries: names as in WITH recent AS (SELECT …)
	for i, word := range words {
		if isName(word) && at(i+1) == "AS" && at(i+2) == "(" {
			withQueries = append(withQueries, word)
		}
		list := word == "FROM" && at(i-1) != "DISTINCT" // IS DISTINCT FROM compares
		if !list && word != "INTO" && word != "UPDATE" && word != "JOIN" {
			continue
		}
		next := i + 1
		for more := true; more && isName(at(next)); next++ {
			if word == "INTO" || at(next+1) != "(" { // otherwise it is a function
				names = append(names, at(next))
			}
			if at(next+1) == "AS" {
				next++
			}
			if isName(at(next + 1)) { // an alias
				next++
			}
			next++
			more = list && at(next) == ","
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(withQueries, name) })
}

var (
	sqlWord   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_.]*|[(),;?*=]`)
	sqlQuoted = regexp.MustCompile(`'[^']*'`)
)

// ownerOf returns the only package whose SQL may name the given table.
func ownerOf(table string) (string, bool) {
	for _, prefix := range []string{"sqlite_", "pragma_", "pg_", "information_schema."} {
		if strings.HasPrefix(table, prefix) {
			return "internal/db", true // system tables of the engines
		}
	}
	owner, ok := owners[table]
	return owner, ok
}

func TestTablesOfAStatement(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1": "",
		"SELECT a.id FROM accounts AS a, members m, groups WHERE a.id = $1":            "accounts members groups",
		"SELECT 1 FROM accounts a JOIN members AS m ON a.id = m.id LEFT JOIN groups g": "accounts members groups",
		"SELECT (SELECT count(*) FROM totp) FROM (SELECT 1 FROM events) e":             "totp events",
		"INSERT INTO ledger (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = $1":      "ledger",
		"INSERT INTO events SELECT * FROM attempts":                                    "events attempts",
		"UPDATE totp SET last_step = $2 WHERE b IS DISTINCT FROM excluded":             "totp",
		"UPDATE totp SET a = 1 FROM accounts":                                          "totp accounts",
		"DELETE FROM sessions WHERE id IN (SELECT session FROM visits)":                "sessions visits",
		"SELECT a FROM accounts FOR UPDATE":                                            "accounts",
		"SELECT a FROM unnest($1) AS t":                                                "",
		"SELECT 'x FROM totp' FROM accounts":                                           "accounts",
		`SELECT 1 FROM "accounts"`:                                                     "accounts",
		"WITH recent AS (SELECT 1 FROM events) SELECT 1 FROM recent":                   "events",
		"select 1 from accounts":                                                       "",
		"Choose FROM accounts":                                                         "",
	} {
		if got := strings.Join(tables(sql), " "); got != want {
			t.Errorf("%s: tables %q, want %q", sql, got, want)
		}
	}
}
