package sallyport_test

// The attacks of this folder's attacks_*_test.go files come from outside: over
// HTTP, over the command line, or with SQL in the place of a thief who writes
// the database. Each test bears the number of its case.

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Cookies of a portal on plain http.
const (
	SessionCookie = "sallyport"
	AttemptCookie = "sallyport-attempt"
)

// BehindProxy is a setting with which a test chooses a request's address, by
// X-Forwarded-For.
const BehindProxy = "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32"

// OnBothEngines runs a test on a portal of each engine.
func OnBothEngines(t *testing.T, test func(t *testing.T, p *portal.Portal), settings ...string) {
	t.Helper()
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, portal.Start(t, engine, settings...))
		})
	}
}

// StartNodes starts n nodes on one PostgreSQL database with one key ring. Each
// has a clock of its own, and all begin at the same time.
func StartNodes(t *testing.T, n int, settings ...string) []*portal.Portal {
	t.Helper()
	nodes := []*portal.Portal{portal.Start(t, "postgres", settings...)}
	shared := nodes[0].Config
	settings = append(settings, "SALLYPORT_DATABASE="+shared.Database.Reveal(), "SALLYPORT_DATA_DIR="+shared.DataDir)
	for len(nodes) < n {
		nodes = append(nodes, portal.Start(t, "postgres", settings...))
	}
	return nodes
}

func MoveAll(nodes []*portal.Portal, d time.Duration) {
	for _, p := range nodes {
		p.Clock.Move(d)
	}
}

// WithTwoFactor adds an account with two-factor authentication. The browser
// that enrolled is signed in, and the next code is a fresh one.
func WithTwoFactor(t *testing.T, p *portal.Portal, name string) (*portal.Browser, *portal.Phone) {
	t.Helper()
	p.AddAccount(t, name)
	b := p.Browser(t)
	b.SignIn(name)
	phone := b.Enroll("Phone")
	if len(phone.Codes) != 10 {
		t.Fatalf("got %d backup codes, want 10", len(phone.Codes))
	}
	return b, phone
}

// PendingSignIn returns a browser that gave the right password and is asked
// for a code.
func PendingSignIn(t *testing.T, p *portal.Portal, name string) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	if a := b.SignIn(name); a.Location != "/login/code" {
		t.Fatalf("sign-in of %s goes to %s, want /login/code", name, a.Location)
	}
	return b
}

// CheckSignedIn fails the test unless the browser's last answer and the start page say
// want: signed in or not.
func CheckSignedIn(t *testing.T, b *portal.Browser, what string, want bool) {
	t.Helper()
	a := b.Last
	if got := a.Status == http.StatusSeeOther && b.SignedIn(); got != want {
		t.Errorf("%s: %d %s, signed in %v, want %v", what, a.Status, a.Location, got, want)
	}
}

// WrongCode returns a code that none of the phones shows within half an hour.
func WrongCode(phones ...*portal.Phone) string {
	shown := map[string]bool{}
	for _, phone := range phones {
		for step := -60; step <= 60; step++ {
			shown[phone.Code(time.Duration(step)*totp.Period)] = true
		}
	}
	for n := 100000; ; n++ {
		if code := strconv.Itoa(n); !shown[code] {
			return code
		}
	}
}

// CountRows returns the number that a query gives.
func CountRows(t *testing.T, p *portal.Portal, query string, args ...any) int {
	t.Helper()
	var n int
	if err := db.One(context.Background(), p.DB.Reader(), query, args, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

const SessionsOfQuery = `SELECT COUNT(*) FROM sessions WHERE account_id = (SELECT id FROM accounts WHERE name = $1)`

// ChangeRows runs a statement as somebody would who writes the database, and
// fails the test if it changed nothing.
func ChangeRows(t *testing.T, p *portal.Portal, statement string, args ...any) {
	t.Helper()
	err := p.DB.Write(context.Background(), func(tx *db.Tx) error {
		n, err := db.Exec(context.Background(), tx, statement, args...)
		if err == nil && n == 0 {
			t.Fatalf("changed nothing: %s", statement)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	OneBackupCode = regexp.MustCompile(`\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b`)
	codeList      = regexp.MustCompile(`(?s)<ul class="codes".*?</ul>`)
	unseen        = regexp.MustCompile(`(?s)<(script|style|svg).*?</(script|style|svg)>|<[^>]*>`)
)

// ShownCodes returns the backup codes in a page's list.
func ShownCodes(page string) []string {
	return OneBackupCode.FindAllString(codeList.FindString(page), -1)
}

// VisibleText returns what a person reads on a page.
func VisibleText(page string) string {
	return html.UnescapeString(unseen.ReplaceAllString(page, " "))
}

// Route is one line of internal/web/routes.go.
type Route struct{ Method, Path, Needs string }

// Routes reads the route table out of its source, so that a new route is
// attacked without a change here.
func Routes(t *testing.T) []Route {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), testkit.Path("internal/web/routes.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []Route
	ast.Inspect(file, func(n ast.Node) bool {
		line, ok := n.(*ast.CompositeLit)
		if !ok || line.Type != nil || len(line.Elts) != 3 {
			return true
		}
		pattern, ok := line.Elts[0].(*ast.BasicLit)
		needs, named := line.Elts[1].(*ast.SelectorExpr)
		if !ok || !named {
			t.Fatalf("routes.go has a line that isn't {pattern, access.X, handler}")
		}
		text, err := strconv.Unquote(pattern.Value)
		method, path, found := strings.Cut(text, " ")
		if err != nil || !found {
			t.Fatalf("route %s has no method", pattern.Value)
		}
		all = append(all, Route{method, strings.TrimSuffix(path, "{$}"), needs.Sel.Name})
		return true
	})
	if len(all) < 30 {
		t.Fatalf("found only %d routes in routes.go", len(all))
	}
	return all
}

// At returns the route's path with id in the place of its wildcard.
func (r Route) At(id string) string { return strings.ReplaceAll(r.Path, "{id}", id) }

// RawAnswer sends a request's bytes as they are and returns the answer's. It
// is for what a well-behaved client refuses to send.
func RawAnswer(t *testing.T, p *portal.Portal, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", p.Config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// ToListener sends a request to where the portal listens, whatever its public
// URL is; host is the Host header.
func ToListener(t *testing.T, p *portal.Portal, method, path, host string, header http.Header, form string) portal.Answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+p.Config.Listen+path, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return portal.Answer{Status: resp.StatusCode, Location: resp.Header.Get("Location"), Body: string(body), Header: resp.Header}
}

// EventCounts returns how often each event happened, "code_reused:refused" for one.
func EventCounts(t *testing.T, p *portal.Portal) map[string]int {
	t.Helper()
	all, err := db.All(context.Background(), p.DB.Reader(), func(scan db.Scan) (string, error) {
		var kind, outcome string
		err := scan(&kind, &outcome)
		return kind + ":" + outcome, err
	}, `SELECT kind, outcome FROM events`)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, one := range all {
		count[one]++
	}
	return count
}

func Unescape(text string) string { return html.UnescapeString(text) }

// Summary is an answer in one line.
func Summary(a portal.Answer) string { return fmt.Sprint(a.Status, " ", a.Location) }

func OneOf(status int, allowed ...int) bool { return slices.Contains(allowed, status) }

func MoveFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
