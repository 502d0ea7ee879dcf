package sallyport_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// startTime is how long the program may take until it answers, on a machine
// with other work.
const startTime = 30 * time.Second

// buildProgram builds what ships and returns its path.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/sallyport")
	build.Dir = testkit.Path(".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0") // as make build does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// program is the built program with a data directory and an environment of its
// own.
type program struct {
	t    *testing.T
	path string
	dir  string
	base string   // where it serves: scheme, host and port
	file string   // configuration, or empty
	env  []string // besides
}

func (p *program) environ() []string {
	environ := []string{"SALLYPORT_DATA_DIR=" + p.dir, behindProxy}
	if p.base != "" {
		environ = append(environ, "SALLYPORT_LISTEN="+strings.TrimPrefix(p.base, "http://"))
	}
	if p.file != "" {
		environ = append(environ, "SALLYPORT_CONFIG="+p.file)
	} else {
		environ = append(environ, noConfig)
	}
	return append(environ, p.env...)
}

// process is a run of the program, which ends with the test at the latest.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error        // once it ended
	out    bytes.Buffer // to read once it ended
	killed bool
}

// background runs a command.
func (p *program) background(args ...string) *process {
	p.t.Helper()
	one := &process{cmd: exec.Command(p.path, args...), ended: make(chan struct{})}
	one.cmd.Env, one.cmd.Dir = p.environ(), p.dir
	one.cmd.Stdout, one.cmd.Stderr = &one.out, &one.out
	check(p.t, one.cmd.Start())
	go func() {
		one.err = one.cmd.Wait()
		close(one.ended)
	}()
	p.t.Cleanup(one.kill)
	return one
}

// begin starts the server at a new port, where nobody of before connects.
func (p *program) begin() *process {
	p.t.Helper()
	p.base = "http://" + testkit.FreeAddress(p.t)
	return p.background("serve")
}

// serve starts the server and waits until it answers.
func (p *program) serve() *process {
	p.t.Helper()
	one := p.begin()
	p.await(one)
	return one
}

// await waits until the server answers.
func (p *program) await(one *process) {
	p.t.Helper()
	for begin := time.Now(); time.Since(begin) < startTime; {
		if resp, err := http.Get(p.base + "/healthz"); err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-one.ended:
			p.t.Fatalf("the server ended: %v\n%s", one.err, one.output())
		case <-time.After(2 * time.Millisecond):
		}
	}
	p.t.Fatal("the server doesn't answer")
}

// kill kills the process, unless it has ended, and waits for its end.
func (one *process) kill() {
	select {
	case <-one.ended:
	default:
		one.killed = true
		one.cmd.Process.Kill()
		<-one.ended
	}
}

func (one *process) wait() error {
	<-one.ended
	return one.err
}

func (one *process) output() string { return one.out.String() }

// command runs a command, which must end well.
func (p *program) command(args ...string) {
	p.t.Helper()
	one := p.background(args...)
	if err := one.wait(); err != nil {
		p.t.Errorf("sallyport %s: %v\n%s", strings.Join(args, " "), err, one.output())
	}
}

// visitor is a browser of a program that may die any time.
type visitor struct {
	base, from string
	client     *http.Client
}

func newVisitor(t *testing.T, base, from string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	return &visitor{base: base, from: from, client: &http.Client{
		Jar: jar, Timeout: startTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// through returns the same browser, with the same cookies, whose requests go
// another way.
func (v *visitor) through(way http.RoundTripper) *visitor {
	client := *v.client
	client.Transport = way
	return &visitor{base: v.base, from: v.from, client: &client}
}

// cookieAt returns the value of the cookie that the visitor would send to origin,
// or "".
func (v *visitor) cookieAt(origin, name string) string {
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

// unexpected is an answer that isn't the one that was due.
type unexpected struct {
	path   string
	answer portal.Answer
}

func (e *unexpected) Error() string { return fmt.Sprintf("%s: %s", e.path, short(e.answer)) }

// gone reports whether err says that the program died before it had answered.
func gone(err error) bool {
	var answered *unexpected
	var died *url.Error
	return err != nil && !errors.As(err, &answered) && (errors.As(err, &died) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF))
}

// send returns the whole answer, or an error.
func (v *visitor) send(method, path string, fields ...string) (portal.Answer, error) {
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	header := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	if method == http.MethodPost {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return v.request(method, path, strings.NewReader(form.Encode()), header)
}

// request sends what a page or a script does; the path may be a whole URL, of a
// panel.
func (v *visitor) request(method, path string, body io.Reader, header http.Header) (portal.Answer, error) {
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

// post sends a form and returns an error unless the answer is good.
func (v *visitor) post(good func(portal.Answer) bool, path string, fields ...string) (portal.Answer, error) {
	a, err := v.send(http.MethodPost, path, fields...)
	if err == nil && !good(a) {
		err = &unexpected{path, a}
	}
	return a, err
}
