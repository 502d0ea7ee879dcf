// Package internal contains only the test of the tree's rules: which package may import
// which, read the clock, name a table or open a session.
package internal

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/sallyport/sallyport/"

// floors lists the packages from the top down. A package may import packages of all
// floors below its own, but none of its own floor or above. So password, totp and
// backupcode may import authenticator, their parent.
var floors = [][]string{
	{"cmd/sallyport"},
	{"internal/cli"},
	{"internal/server"},
	{"internal/web", "internal/forwardauth", "internal/gateway", "internal/doctor", "internal/api", "internal/oidc"},
	{"internal/page"},
	{"internal/manage", "internal/maintenance", "internal/recovery"},
	{"internal/login"},
	{"internal/entry"},
	{"internal/pass"},
	{"internal/access"},
	{"internal/session", "internal/device"},
	{"internal/authenticator/password", "internal/authenticator/totp", "internal/authenticator/backupcode", "internal/authenticator/webauthn"},
	{"internal/authenticator"},
	{"internal/journal", "internal/mail", "internal/webhook"},
	{"internal/notice"},
	{"internal/account", "internal/ticket", "internal/throttle", "internal/clock", "internal/audit", "internal/outbox"},
	{"internal/certs", "internal/cluster"},
	{"internal/secret", "internal/db", "internal/label", "internal/health", "internal/locale", "internal/metric"},
	{"internal/durable"},
}

// Packages beside the floors. The rules for testkit and bench include the packages below
// them.
const (
	config  = "internal/config"  // imports no package of this module; only cli and server import it
	testkit = "internal/testkit" // may import any package; only tests and bench import it
	durable = "internal/durable" // the only one that renames and locks files
	bench   = "bench"            // may import any package; not a part of the product
)

// clocks lists the packages that may read the clock. All others take the time as a
// parameter.
var clocks = []string{"internal/server", "internal/cli", testkit}

// owners maps each table to the only package whose SQL may name it.
var owners = map[string]string{
	"accounts":          "internal/account",
	"groups":            "internal/account",
	"members":           "internal/account",
	"tickets":           "internal/ticket",
	"passwords":         "internal/authenticator/password",
	"authenticators":    "internal/authenticator",
	"totp":              "internal/authenticator/totp",
	"backup_codes":      "internal/authenticator/backupcode",
	"attempts":          "internal/login",
	"sessions":          "internal/session",
	"visits":            "internal/session",
	"handoffs":          "internal/session",
	"devices":           "internal/device",
	"passes":            "internal/pass",
	"ledger":            "internal/throttle",
	"events":            "internal/audit",
	"audit_head":        "internal/audit",
	"audit_checkpoints": "internal/audit",
	"schema":            "internal/db",
	"leases":            "internal/cluster",
	"nodes":             "internal/cluster",
	"clock":             "internal/clock",
	"outbox":            "internal/outbox",
	"outbox_quotas":     "internal/outbox",
}

// sessionOpener is the only file that may open sessions (R13).
const sessionOpener = "internal/login/finish.go"

// sweeper is the only file above manage that writes transactions: its jobs delete what has
// expired.
const sweeper = "internal/server/jobs.go"

// cached lists the tables whose rows entry.Admissions caches for seconds.
var cached = []string{"accounts", "groups", "members", "sessions", "visits", "passes"}

// silent lists the functions that may change rows of those tables without invalidating
// the cache, since a stale row grants nothing more.
var silent = []string{
	"internal/account/AddGroup", "internal/account/Create", "internal/pass/Create", // a new row is in no cache
	"internal/session/NoteUse", "internal/pass/NoteUse", // the caller caches the time
	"internal/session/Expire", "internal/pass/Expire", // the expiry is checked at each use
}

// forChanges lists what login exports for the packages that change accounts, which are those of
// the floor above it. The doors and the command line call these packages instead, so that a
// change can't leave out what must end with it, or its audit event.
var forChanges = []string{"CheckClock", "CheckNew", "EndMailedLinks", "EndOthers", "GiveBack", "HashNew", "NewBackupCodes", "RefusalError", "VerifyPassword"}

// recorder is the only package that appends audit events.
const recorder = "internal/journal"

// checks are the rules. Each returns the faults of one file.
var checks = []func(source) []string{checkImports, checkClock, checkTables, checkCached, checkSessions, checkEvents, checkChanges, checkFiles, checkInit}

func TestTreeFollowsItsRules(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			// tools is a module of its own; the other directories contain no packages.
			if name != ".." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || name == "../tools") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		relative, err := filepath.Rel("..", name)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(relative), nil)
		if err != nil {
			return err
		}
		files++
		for _, check := range checks {
			for _, fault := range check(s) {
				t.Error(fault)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("the test found no files")
	}
}

// source is a parsed file.
type source struct {
	path    string // relative to the module
	pkg     string // its directory
	fset    *token.FileSet
	file    *ast.File
	imports map[string]string // local name -> import path
}

// parse parses the file at name or, if text isn't nil, text as its content.
func parse(name string, text any) (source, error) {
	from := name
	if text == nil {
		from = filepath.Join("..", name)
	}
	s := source{path: name, pkg: path.Dir(name), fset: token.NewFileSet(), imports: map[string]string{}}
	file, err := parser.ParseFile(s.fset, from, text, parser.SkipObjectResolution)
	if err != nil {
		return s, err
	}
	s.file = file
	for _, spec := range file.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return s, err
		}
		local := path.Base(to)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		s.imports[local] = to
	}
	return s, nil
}

func (s source) fault(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// floor returns the number of pkg's floor, counted from the top.
func floor(pkg string) (int, bool) {
	i := slices.IndexFunc(floors, func(floor []string) bool { return slices.Contains(floor, pkg) })
	return i, i >= 0
}

// isForTests reports whether a package is for tests and measurements only.
func isForTests(pkg string) bool {
	return pkg == testkit || strings.HasPrefix(pkg, testkit+"/") || pkg == bench || strings.HasPrefix(pkg, bench+"/")
}

// checkImports checks that imports point down.
func checkImports(s source) []string {
	if isForTests(s.pkg) {
		return nil
	}
	from, known := floor(s.pkg)
	if !known && s.pkg != config {
		return []string{s.fault(s.file, "package %s is unknown; add it to the floors", s.pkg)}
	}
	var faults []string
	for _, spec := range s.file.Imports {
		name := strings.Trim(spec.Path.Value, "`\"")
		if spec.Name != nil && spec.Name.Name == "." {
			faults = append(faults, s.fault(spec, "dot import of %s hides where a name comes from", name))
		}
		if name == "math/rand" || name == "math/rand/v2" {
			faults = append(faults, s.fault(spec, "%s can be guessed; use crypto/rand", name))
		}
		to, isInModule := strings.CutPrefix(name, module)
		if !isInModule {
			continue
		}
		below, found := floor(to)
		switch {
		case isForTests(to):
			faults = append(faults, s.fault(spec, "%s is for tests", to))
		case to == config && (s.pkg == "internal/cli" || s.pkg == "internal/server"):
		case to == config:
			faults = append(faults, s.fault(spec, "only cli and server read config; take plain values"))
		case !found:
			faults = append(faults, s.fault(spec, "package %s is unknown; add it to the floors", to))
		case s.pkg == config || below <= from:
			faults = append(faults, s.fault(spec, "%s may not import %s: arrows point down", s.pkg, to))
		}
	}
	return faults
}

// checkClock checks that functions take the time as a parameter.
func checkClock(s source) []string {
	if !strings.HasPrefix(s.pkg, "internal/") || isForTests(s.pkg) || slices.Contains(clocks, s.pkg) {
		return nil
	}
	var faults []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		// A function value counts too, since the receiver would read the clock with it.
		if name, ok := s.selects(n, "time"); ok && (name == "Now" || name == "Since" || name == "Until") {
			faults = append(faults, s.fault(n, "time.%s: take now as a parameter", name))
		}
		return true
	})
	return faults
}

// selects returns the name that n selects from the package at importPath.
func (s source) selects(n ast.Node, importPath string) (string, bool) {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	x, ok := selector.X.(*ast.Ident)
	if !ok || s.imports[x.Name] != importPath {
		return "", false
	}
	return selector.Sel.Name, true
}

// checkSessions checks that only one file opens sessions.
func checkSessions(s source) []string {
	if s.path == sessionOpener || isForTests(s.pkg) {
		return nil
	}
	var faults []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		name, ok := s.selects(n, module+"internal/session")
		if !ok {
			name, ok = methodOfSessions(n)
		}
		if call, is := n.(*ast.CallExpr); is && s.pkg == "internal/session" {
			if f, is := call.Fun.(*ast.Ident); is {
				name, ok = f.Name, true
			}
		}
		if ok && name == "Create" {
			faults = append(faults, s.fault(n, "only %s opens sessions", sessionOpener))
		}
		return true
	})
	return faults
}

// checkEvents checks that only one package appends audit events, so that no event can pass it.
func checkEvents(s source) []string {
	if s.pkg == recorder || isForTests(s.pkg) {
		return nil
	}
	var faults []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		name, ok := s.selects(n, module+"internal/audit")
		if call, is := n.(*ast.CallExpr); is && s.pkg == "internal/audit" {
			if f, is := call.Fun.(*ast.Ident); is {
				name, ok = f.Name, true
			}
		}
		if ok && name == "Append" {
			faults = append(faults, s.fault(n, "only %s appends audit events; call Record of a Journal", recorder))
		}
		return true
	})
	return faults
}

// checkChanges checks that packages above those that change accounts don't do so by themselves:
// they call none of forChanges, and write no transaction, which every function that changes a row
// needs. Only the jobs of server do, which delete what has expired. It goes by the names of
// methods, since types are unknown here.
func checkChanges(s source) []string {
	from, known := floor(s.pkg)
	if changing, _ := floor("internal/manage"); !known || from >= changing {
		return nil
	}
	var faults []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && slices.Contains(forChanges, selector.Sel.Name) {
			faults = append(faults, s.fault(n, "%s is for packages that change accounts; call manage", selector.Sel.Name))
		}
		if holder, name := selection(n); s.path != sweeper && strings.EqualFold(holder, "db") && (name == "Write" || name == "Tx") {
			faults = append(faults, s.fault(n, "a transaction that changes rows; call manage"))
		}
		return true
	})
	return faults
}

// methodOfSessions returns the name that n selects from a variable or field called
// session or sessions, as in s.sessions.Create. It goes by the name, since types are
// unknown here.
func methodOfSessions(n ast.Node) (string, bool) {
	holder, name := selection(n)
	return name, strings.EqualFold(holder, "session") || strings.EqualFold(holder, "sessions")
}

// selection returns the name of the variable or field that n selects from, and the selected
// name; both are empty if n is anything else.
func selection(n ast.Node) (holder, name string) {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	switch x := selector.X.(type) {
	case *ast.Ident:
		holder = x.Name
	case *ast.SelectorExpr:
		holder = x.Sel.Name
	}
	return holder, selector.Sel.Name
}

// checkFiles checks that only durable renames, makes and locks files: its writes
// survive a power cut.
func checkFiles(s source) []string {
	if s.pkg == durable || isForTests(s.pkg) {
		return nil
	}
	var faults []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		name, ok := s.selects(n, "os")
		if !ok {
			name, ok = s.selects(n, "syscall")
		}
		if ok && slices.Contains([]string{"Rename", "Link", "CreateTemp", "MkdirAll", "Flock"}, name) {
			faults = append(faults, s.fault(n, "%s: call %s", name, durable))
		}
		return true
	})
	return faults
}

// checkInit checks that there is no func init.
func checkInit(s source) []string {
	var faults []string
	for _, decl := range s.file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, s.fault(f, "func init runs unseen; let the caller call it"))
		}
	}
	return faults
}

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
// In account, set does it for its callers.
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

// tables returns the tables that an SQL statement names after FROM, INTO, UPDATE and
// JOIN, in order. It returns none if sql is another text.
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

// ownerOf returns the package whose SQL may name table.
func ownerOf(table string) (string, bool) {
	for _, prefix := range []string{"sqlite_", "pragma_", "pg_", "information_schema."} {
		if strings.HasPrefix(table, prefix) {
			return "internal/db", true // system tables of the engines
		}
	}
	owner, ok := owners[table]
	return owner, ok
}

func TestChecksFindFaults(t *testing.T) {
	const importPrefix = `import "` + module
	tests := []struct {
		name, path, text string
		want             []string
	}{
		{"arrow down", "internal/web/a.go", importPrefix + `internal/login"`, nil},
		{"arrow over floors", "cmd/sallyport/main.go", importPrefix + `internal/db"`, nil},
		{"arrow up", "internal/session/a.go", importPrefix + `internal/login"`,
			[]string{"internal/session/a.go:2: internal/session may not import internal/login: arrows point down"}},
		{"door to door", "internal/web/a.go", importPrefix + `internal/gateway"`,
			[]string{"internal/web/a.go:2: internal/web may not import internal/gateway: arrows point down"}},
		{"authenticator to its parent", "internal/authenticator/totp/a.go", importPrefix + `internal/authenticator"`, nil},
		{"authenticator to its child", "internal/authenticator/a.go", importPrefix + `internal/authenticator/totp"`,
			[]string{"internal/authenticator/a.go:2: internal/authenticator may not import internal/authenticator/totp: arrows point down"}},
		{"authenticator to its sibling", "internal/authenticator/totp/a.go", importPrefix + `internal/authenticator/password"`,
			[]string{"internal/authenticator/totp/a.go:2: internal/authenticator/totp may not import internal/authenticator/password: arrows point down"}},
		{"config in server", "internal/server/a.go", importPrefix + `internal/config"`, nil},
		{"config in cli", "internal/cli/a.go", importPrefix + `internal/config"`, nil},
		{"config in a door", "internal/web/a.go", importPrefix + `internal/config"`,
			[]string{"internal/web/a.go:2: only cli and server read config; take plain values"}},
		{"config in main", "cmd/sallyport/main.go", importPrefix + `internal/config"`,
			[]string{"cmd/sallyport/main.go:2: only cli and server read config; take plain values"}},
		{"config imports", "internal/config/a.go", importPrefix + `internal/secret"`,
			[]string{"internal/config/a.go:2: internal/config may not import internal/secret: arrows point down"}},
		{"testkit imports", "internal/testkit/withpostgres/main.go", importPrefix + `internal/cli"`, nil},
		{"testkit in the product", "internal/cli/a.go", importPrefix + `internal/testkit/browser"`,
			[]string{"internal/cli/a.go:2: internal/testkit/browser is for tests"}},
		{"new package", "internal/utils/a.go", "",
			[]string{"internal/utils/a.go:1: package internal/utils is unknown; add it to the floors"}},
		{"new command", "cmd/other/main.go", "",
			[]string{"cmd/other/main.go:1: package cmd/other is unknown; add it to the floors"}},
		{"import of a new package", "internal/web/a.go", importPrefix + `internal/access/rules"`,
			[]string{"internal/web/a.go:2: package internal/access/rules is unknown; add it to the floors"}},
		{"guessable numbers", "internal/secret/a.go", `import ("math/rand"; r "math/rand/v2")`,
			[]string{"internal/secret/a.go:2: math/rand can be guessed; use crypto/rand", "internal/secret/a.go:2: math/rand/v2 can be guessed; use crypto/rand"}},
		{"dot import", "internal/web/a.go", `import . "time"`,
			[]string{"internal/web/a.go:2: dot import of time hides where a name comes from"}},

		{"clock", "internal/session/a.go", `import "time"; var a = time.Now(); var b = time.Since(c)`,
			[]string{"internal/session/a.go:2: time.Now: take now as a parameter", "internal/session/a.go:2: time.Since: take now as a parameter"}},
		{"clock handed on", "internal/web/a.go", `import t "time"; var clock = t.Now`,
			[]string{"internal/web/a.go:2: time.Now: take now as a parameter"}},
		{"clock in server", "internal/server/a.go", `import "time"; var a = time.Now()`, nil},
		{"another Now", "internal/web/a.go", `import "time"; var a = clock.Now; var b = time.Hour`, nil},

		{"own table", "internal/account/a.go", "var q = `\n\tSELECT id FROM accounts JOIN members USING (id)`", nil},
		{"other's table", "internal/web/a.go", `var q = "DELETE FROM sessions"`,
			[]string{"internal/web/a.go:2: table sessions belongs to internal/session; call that"}},
		{"other's table in parts", "internal/session/a.go", `var q = "SELECT " + columns + " FROM sessions, " + ("accounts")`,
			[]string{"internal/session/a.go:2: table accounts belongs to internal/account; call that"}},
		{"text within a call", "internal/web/a.go", `var q = f(1, "UPDATE totp SET a = 1")`,
			[]string{"internal/web/a.go:2: table totp belongs to internal/authenticator/totp; call that"}},
		{"new table", "internal/web/a.go", `var q = "INSERT INTO notes (a) VALUES (1)"`,
			[]string{"internal/web/a.go:2: table notes has no owner; add it to the owners"}},
		{"engine's table", "internal/web/a.go", `var q = "SELECT 1 FROM pg_stat_replication"`,
			[]string{"internal/web/a.go:2: table pg_stat_replication belongs to internal/db; call that"}},
		{"no statement", "internal/web/a.go", `var q = "Mail FROM accounts"`, nil},

		{"change without tx.Changed", "internal/session/a.go", "func End() { exec(`\n\tDELETE FROM visits`) }",
			[]string{"internal/session/a.go:2: End changes visits, which are cached: call tx.Changed"}},
		{"change with tx.Changed", "internal/session/a.go", "func End() { tx.Changed(id); exec(`DELETE FROM visits`) }", nil},
		{"change with changeOne", "internal/account/a.go", "func End() { changeOne(`DELETE FROM groups`) }", nil},
		{"change that may be silent", "internal/session/a.go", "func Expire() { exec(`DELETE FROM sessions`) }", nil},
		{"read of cached rows", "internal/session/a.go", "func Read() { exec(`SELECT id FROM visits`) }", nil},

		{"session in finish", sessionOpener, importPrefix + `internal/session"; var s = session.Create()`, nil},
		{"session elsewhere in login", "internal/login/submit.go", importPrefix + `internal/session"; var s = session.Create()`,
			[]string{"internal/login/submit.go:2: only internal/login/finish.go opens sessions"}},
		{"session by another name", "internal/web/a.go", importPrefix[:7] + `s "` + module + `internal/session"; var open = s.Create`,
			[]string{"internal/web/a.go:2: only internal/login/finish.go opens sessions"}},
		{"session by a method", "internal/server/a.go", `var s = a.sessions.Create()`,
			[]string{"internal/server/a.go:2: only internal/login/finish.go opens sessions"}},
		{"session by its own package", "internal/session/a.go", `func Renew() { Create() }; func Create() {}`,
			[]string{"internal/session/a.go:2: only internal/login/finish.go opens sessions"}},
		{"event in journal", "internal/journal/a.go", importPrefix + `internal/audit"; var a = audit.Append()`, nil},
		{"event elsewhere", "internal/login/a.go", importPrefix[:7] + `a "` + module + `internal/audit"; var record = a.Append`,
			[]string{"internal/login/a.go:2: only internal/journal appends audit events; call Record of a Journal"}},
		{"event by its own package", "internal/audit/a.go", `func HandOver() { Append() }; func Append() {}`,
			[]string{"internal/audit/a.go:2: only internal/journal appends audit events; call Record of a Journal"}},
		{"change in a door", "internal/web/a.go", importPrefix + `internal/login"; var a = login.EndOthers; var b = s.Login.HashNew()`,
			[]string{"internal/web/a.go:2: EndOthers is for packages that change accounts; call manage", "internal/web/a.go:2: HashNew is for packages that change accounts; call manage"}},
		{"a transaction in a door", "internal/web/a.go", `var a = s.Login.DB.Write(ctx, func(tx *db.Tx) error { return nil })`,
			[]string{"internal/web/a.go:2: a transaction that changes rows; call manage", "internal/web/a.go:2: a transaction that changes rows; call manage"}},
		{"a transaction of a job", "internal/server/jobs.go", `var a = p.DB.Write(ctx, f)`, nil},
		{"change in manage", "internal/manage/a.go", `var a = m.login.HashNew()`, nil},
		{"another Create", "internal/cli/a.go", importPrefix + `internal/account"; var a = account.Create()`, nil},

		{"rename", "internal/db/a.go", `import "os"; var a = os.Rename`,
			[]string{"internal/db/a.go:2: Rename: call internal/durable"}},
		{"lock", "internal/server/a.go", `import "syscall"; var a = syscall.Flock(1, 2)`,
			[]string{"internal/server/a.go:2: Flock: call internal/durable"}},
		{"rename in durable", "internal/durable/a.go", `import "os"; var a = os.Rename`, nil},
		{"another call of os", "internal/db/a.go", `import "os"; var a = os.Stat`, nil},

		{"init", "internal/web/a.go", `func init() {}`,
			[]string{"internal/web/a.go:2: func init runs unseen; let the caller call it"}},
		{"method init", "internal/web/a.go", `func (s *server) init() {}`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := parse(test.path, "package p\n"+test.text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, check := range checks {
				got = append(got, check(s)...)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
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
