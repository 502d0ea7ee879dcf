package sallyport

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// StartTime limits how long the program may take until it answers, on a busy machine.
const StartTime = 30 * time.Second

// BinaryVariable is the environment variable that can hold the absolute path of a built
// program, so that the tests of many packages share one build.
const BinaryVariable = "SALLYPORT_TEST_BINARY"

// BuildProgram returns the path of the program, built as for a release. That is the path in
// [BinaryVariable] or, if the variable is empty, the path of a program built for this test.
func BuildProgram(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(BinaryVariable); path != "" {
		// Open the program, since Go's test cache notices changes only of files that the test
		// itself opens.
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		return path
	}
	path := filepath.Join(t.TempDir(), "sallyport")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/sallyport")
	build.Dir = testkit.Path(".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0") // as make build does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// Program is the built program with its own data directory and environment.
type Program struct {
	T    *testing.T
	Path string
	Dir  string
	Base string   // the server's origin; empty until it starts
	File string   // the configuration file, or empty
	Env  []string // further environment variables
}

func (p *Program) environ() []string {
	environ := []string{"SALLYPORT_DATA_DIR=" + p.Dir, portal.BehindProxy}
	if p.Base != "" {
		environ = append(environ, "SALLYPORT_LISTEN="+strings.TrimPrefix(p.Base, "http://"))
	}
	if p.File != "" {
		environ = append(environ, "SALLYPORT_CONFIG="+p.File)
	} else {
		environ = append(environ, portal.NoConfig)
	}
	return append(environ, p.Env...)
}

// Process is a process of the program. It is killed at the end of the test if it still runs.
type Process struct {
	Cmd    *exec.Cmd
	Ended  chan struct{}
	Err    error        // the result of Wait, once Ended is closed
	out    bytes.Buffer // may be read once Ended is closed
	Killed bool
}

// Background starts the program with these arguments and doesn't wait until it ends.
func (p *Program) Background(args ...string) *Process {
	p.T.Helper()
	one := &Process{Cmd: exec.Command(p.Path, args...), Ended: make(chan struct{})}
	one.Cmd.Env, one.Cmd.Dir = p.environ(), p.Dir
	one.Cmd.Stdout, one.Cmd.Stderr = &one.out, &one.out
	testkit.Check(p.T, one.Cmd.Start())
	go func() {
		one.Err = one.Cmd.Wait()
		close(one.Ended)
	}()
	p.T.Cleanup(one.Kill)
	return one
}

// Start starts the server at a new port, so that clients of an earlier server don't reach it.
func (p *Program) Start() *Process {
	p.T.Helper()
	p.Base = "http://" + testkit.FreeAddress(p.T)
	return p.Background("serve")
}

// Serve starts the server and waits until it answers.
func (p *Program) Serve() *Process {
	p.T.Helper()
	one := p.Start()
	p.Await(one)
	return one
}

// Await waits until the server answers.
func (p *Program) Await(one *Process) {
	p.T.Helper()
	for begin := time.Now(); time.Since(begin) < StartTime; {
		if resp, err := http.Get(p.Base + "/healthz"); err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-one.Ended:
			p.T.Fatalf("the server ended before it answered: %v\n%s", one.Err, one.Output())
		case <-time.After(2 * time.Millisecond):
		}
	}
	p.T.Fatalf("the server doesn't answer within %v", StartTime)
}

// Kill kills the process and waits until it has ended. If it had ended before, Kill has no effect.
func (one *Process) Kill() {
	select {
	case <-one.Ended:
	default:
		one.Killed = true
		one.Cmd.Process.Kill()
		<-one.Ended
	}
}

// Wait waits until the process has ended and returns its error, as [exec.Cmd.Wait] does.
func (one *Process) Wait() error {
	<-one.Ended
	return one.Err
}

// Output returns the output of the process. Call it only after the process has ended.
func (one *Process) Output() string { return one.out.String() }

// Command runs the program with these arguments. The test fails if the command fails.
func (p *Program) Command(args ...string) {
	p.T.Helper()
	one := p.Background(args...)
	if err := one.Wait(); err != nil {
		p.T.Errorf("sallyport %s: %v\n%s", strings.Join(args, " "), err, one.Output())
	}
}

// Run runs the program with these arguments and with input as its standard input, and returns what
// the program prints. Any goroutine can call Run, since it returns an error where
// [Program.Command] fails the test.
func (p *Program) Run(input string, args ...string) (output string, err error) {
	cmd := exec.Command(p.Path, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = p.environ(), p.Dir, strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("sallyport %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Visitor is a browser. Its methods return errors, since the tests kill its server at any time.
type Visitor struct {
	base, from string
	client     *http.Client
}

// NewVisitor returns a browser without cookies for the program at the origin base. The parameter
// from is its client address, which it sends in X-Forwarded-For.
func NewVisitor(t *testing.T, base, from string) *Visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	testkit.Check(t, err)
	return &Visitor{base: base, from: from, client: &http.Client{
		Jar: jar, Timeout: StartTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Through returns a browser that shares the cookies of v but sends its requests through the
// given transport.
func (v *Visitor) Through(transport http.RoundTripper) *Visitor {
	client := *v.client
	client.Transport = transport
	return &Visitor{base: v.base, from: v.from, client: &client}
}

// CookieAt returns the value of the cookie with this name that the visitor would send to
// origin, or "".
func (v *Visitor) CookieAt(origin, name string) string {
	at, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	for _, c := range v.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// Walk requests a page as a navigation and follows every redirect, and every Refresh header
// such as that of the page after a form. It returns the last answer.
func (v *Visitor) Walk(page string) (a portal.Answer, err error) {
	for range 10 {
		if a, err = v.Send(http.MethodGet, page); err != nil {
			return a, err
		}
		_, refresh, _ := strings.Cut(a.Header.Get("Refresh"), "url=")
		if page = cmp.Or(a.Location, refresh); page == "" {
			return a, nil
		}
	}
	return a, fmt.Errorf("more than 10 redirects, the last one to %s", page)
}

// UnexpectedAnswer is the error for an answer other than the expected one.
type UnexpectedAnswer struct {
	Path   string
	Answer portal.Answer
}

func (e *UnexpectedAnswer) Error() string {
	return fmt.Sprintf("%s: %s", e.Path, portal.Summary(e.Answer))
}

// ProgramDied reports whether err means that the program died before it answered.
func ProgramDied(err error) bool {
	var answered *UnexpectedAnswer
	var died *url.Error
	return err != nil && !errors.As(err, &answered) && (errors.As(err, &died) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF))
}

// Send sends a navigation, with form fields in pairs of name and value, and returns the
// whole answer.
func (v *Visitor) Send(method, path string, fields ...string) (portal.Answer, error) {
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	header := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	if method == http.MethodPost {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return v.Request(method, path, strings.NewReader(form.Encode()), header)
}

// Request sends a request with these headers. path is a path on the portal, or a whole URL such
// as a panel's.
func (v *Visitor) Request(method, path string, body io.Reader, header http.Header) (portal.Answer, error) {
	if strings.HasPrefix(path, "/") {
		path = v.base + path
	}
	req, err := http.NewRequest(method, path, body)
	if err != nil {
		return portal.Answer{}, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("X-Forwarded-For", v.from)
	resp, err := v.client.Do(req)
	if err != nil {
		return portal.Answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return portal.Answer{
		Status: resp.StatusCode, Location: strings.TrimPrefix(resp.Header.Get("Location"), v.base), Body: string(text), Header: resp.Header,
	}, err
}

// Post sends a form. It returns an [UnexpectedAnswer] if the function good rejects the answer.
func (v *Visitor) Post(good func(portal.Answer) bool, path string, fields ...string) (portal.Answer, error) {
	a, err := v.Send(http.MethodPost, path, fields...)
	if err == nil && !good(a) {
		err = &UnexpectedAnswer{path, a}
	}
	return a, err
}
