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
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport/"

// floors lists the packages from the top down. A package may import packages of all floors below
// its own, but not of its own floor or above. So password, totp and backupcode may import
// authenticator, their parent.
var floors = [][]string{
	{"cmd/sallyport"},
	{"internal/cli"},
	{"internal/server"},
	{"internal/web", "internal/admin", "internal/forwardauth", "internal/gateway", "internal/doctor", "internal/api", "internal/oidc"},
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
	{"internal/account", "internal/ticket", "internal/throttle", "internal/clock", "internal/audit", "internal/outbox", "internal/policy"},
	{"internal/certs", "internal/cluster"},
	{"internal/secret", "internal/db", "internal/label", "internal/health", "internal/locale", "internal/metric"},
	{"internal/durable"},
}

// Packages outside the floors. The rules for testkit and bench apply to the packages below them
// too.
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

// forChanges lists the functions that login exports only for the packages of the floor above it,
// which change accounts. The doors and the command line call those packages instead, so that no
// change leaves out its audit event or what must end with it.
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
		// The function as a value, without a call, counts too: whoever gets it can read the clock.
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

// checkEvents checks that only one package appends audit events, so that no event gets around it.
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
// they must not call the functions in forChanges, nor begin a write transaction, which every
// function that changes a row needs. Only the jobs of server may begin one, to delete expired
// rows. The check compares names of methods, since it doesn't know types.
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

// checkFiles checks that only durable renames, makes and locks files, since its writes
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
