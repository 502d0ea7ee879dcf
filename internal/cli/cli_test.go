package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// output is what a running command printed; it is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// command is a running command. It is stopped when its test ends.
type command struct {
	out, err *output
	stop     context.CancelFunc
	done     chan struct{} // closed once code is its exit code
	code     int
}

func start(t *testing.T, environ []string, args ...string) *command {
	t.Helper()
	return startWithPaths(t, nil, environ, args...)
}

// startWithPaths is start with default paths of the configuration.
func startWithPaths(t *testing.T, configPaths, environ []string, args ...string) *command {
	t.Helper()
	return startWithStreams(t, Streams{In: strings.NewReader(""), Out: newOutput(), Err: newOutput()}, configPaths, environ, args...)
}

// startWithStreams is startWithPaths with streams. Their Out must be an *output.
func startWithStreams(t *testing.T, streams Streams, configPaths, environ []string, args ...string) *command {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &command{out: streams.Out.(*output), stop: stop, done: make(chan struct{})}
	c.err, _ = streams.Err.(*output)
	go func() {
		c.code = mainContext(ctx, args, streams, environ, configPaths...)
		close(c.out.more)
		close(c.done)
	}()
	t.Cleanup(func() { c.end() })
	return c
}

// end stops the command, as Ctrl-C does, and returns its exit code.
func (c *command) end() int {
	c.stop()
	<-c.done
	return c.code
}

// printTimeout is how long a test waits for a command to print something. A busy machine
// needs several seconds.
const printTimeout = time.Minute

// waitFor waits until pattern matches the command's standard output, and returns the first
// match and its groups.
func (c *command) waitFor(t *testing.T, pattern string) []string {
	t.Helper()
	expr := regexp.MustCompile(pattern)
	timeout := time.After(printTimeout)
	for {
		if found := expr.FindStringSubmatch(c.out.String()); found != nil {
			return found
		}
		select {
		case _, ok := <-c.out.more:
			if !ok {
				t.Fatalf("the command ended and didn't print %q\n%s\n%s", pattern, c.out, c.err)
			}
		case <-timeout:
			t.Fatalf("no %q after %v\n%s\n%s", pattern, printTimeout, c.out, c.err)
		}
	}
}

// call runs a command to its end with in as standard input.
func call(environ []string, in string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = mainContext(context.Background(), args, Streams{In: strings.NewReader(in), Out: &o, Err: &e}, environ)
	return code, o.String(), e.String()
}

// environFor returns the variables of a configuration with a fresh database: the listen
// address, data_dir and, for PostgreSQL, the database's URL, in this order.
func environFor(t *testing.T, engine string) []string {
	environ := []string{"SALLYPORT_LISTEN=" + testkit.FreeAddress(t), "SALLYPORT_DATA_DIR=" + filepath.Join(t.TempDir(), "data")}
	if rawURL := testkit.DatabaseURL(t, engine); engine == "postgres" {
		environ = append(environ, "SALLYPORT_DATABASE="+rawURL)
	}
	return environ
}

// environWithPortal is [environFor] with a portal that init has created.
func environWithPortal(t *testing.T, engine string) []string {
	t.Helper()
	environ := environFor(t, engine)
	if code, _, errs := call(environ, "", "init"); code != 0 {
		t.Fatalf("init: exit code %d, want 0, got\n%s", code, errs)
	}
	return environ
}

func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Browsers resolve names below .localhost themselves; Go's client uses DNS.
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return &http.Client{Jar: jar, Transport: &http.Transport{DialContext: dial}}
}

func fetch(t *testing.T, client *http.Client, link string, form url.Values) (int, string) {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, link, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// Attack 144: two servers use one SQLite file.
func TestAttack144SecondServerOnOneSQLiteFileIsRefused(t *testing.T) {
	environ := environFor(t, "sqlite")
	start(t, environ, "serve").waitFor(t, "Sallyport is at")
	code, _, errs := call(append(environ, "SALLYPORT_LISTEN="+testkit.FreeAddress(t)), "", "serve")
	if code != exitFailed || !strings.Contains(errs, "another sallyport serves this database") {
		t.Errorf("second server: exit code %d, want 1 and \"another sallyport serves this database\", got\n%s", code, errs)
	}
}

func TestDemoPrintsItsURLsAndLeavesNoFiles(t *testing.T) {
	for _, args := range [][]string{{"demo"}, {"demo", "--shared-host"}} {
		temporary := t.TempDir()
		t.Setenv("TMPDIR", temporary)
		demo := start(t, nil, append(args, "--listen", testkit.FreeAddress(t))...)
		found := demo.waitFor(t, `Panel +(http://\S+/) .*\s+Portal +(http://\S+/)\s+Name +(\S+)\s+Password +(\S+)\s+Mails +file://(\S+)/ `)
		b := browser(t)
		status, body := fetch(t, b, found[2]+"login", url.Values{"username": {found[3]}, "password": {found[4]}})
		if status != 200 || !strings.Contains(body, "Your panels") {
			t.Errorf("%v: sign-in: %d, want 200 and \"Your panels\"\n%s", args, status, body)
		}
		if status, body := fetch(t, b, found[1]+".sallyport/start?return=/", nil); status != 200 || !strings.Contains(body, "Harbour Streams") || !strings.Contains(body, "Hello, Demo") {
			t.Errorf("%v: the sample panel: %d, want 200 and the panel's page\n%s", args, status, body)
		}
		testkit.Until(t, "the sign-in from a new browser is mailed", func() bool {
			mails, err := filepath.Glob(found[5] + "/*.eml")
			must(t, err)
			for _, name := range mails {
				if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), "Sign-in to your Sallyport demo account from a new browser") {
					return true
				}
			}
			return false
		})
		if code := demo.end(); code != 0 {
			t.Errorf("%v ended with exit code %d, want 0, got\n%s", args, code, demo.err)
		}
		left, err := os.ReadDir(temporary)
		if err != nil || len(left) > 0 {
			t.Errorf("%v left behind: %v, %v; want nothing", args, left, err)
		}
	}
}

func TestFaultyConfigurationIsExitCode2WithEveryFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte("listn: x\nsession:\n  idle: 12 hours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"config", "check"}, {"serve"}, {"account", "list"}} {
		code, _, errs := call(nil, "", append([]string{"--config", file}, args...)...)
		if code != exitUsage || !strings.Contains(errs, file+":1: listn") || !strings.Contains(errs, file+":3: session.idle") {
			t.Errorf("%v: exit code %d, want 2, got\n%s", args, code, errs)
		}
	}
	code, out, errs := call([]string{"SALLYPORT_PUBLIC_URL=https://auth.example.com"}, "", "config", "check")
	if code != 0 || !strings.Contains(out, "https://auth.example.com") {
		t.Errorf("config check: exit code %d, want 0 and \"https://auth.example.com\", got\n%s%s", code, out, errs)
	}
}

// Service managers don't restart a server after exit code 2: only a newer version can help.
func TestDatabaseOfANewerVersionIsExitCode2(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			cfg, err := config.Load("", environ)
			must(t, err)
			d := testkit.Open(t, cfg.DatabaseURL())
			must(t, d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := db.Exec(t.Context(), tx, `UPDATE schema SET version = version + 1, usable_since = version + 1`)
				return err
			}))
			for _, command := range []string{"serve", "account list", "audit verify"} {
				code, _, errs := call(environ, "", strings.Fields(command)...)
				if code != exitUsage || !strings.Contains(errs, "install the newer version here") {
					t.Errorf("%s: exit code %d, want 2 and \"install the newer version here\", got\n%s", command, code, errs)
				}
			}
		})
	}
}

func TestDefaultConfigurationIsAConfiguration(t *testing.T) {
	_, out, _ := call(nil, "", "config", "default")
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call([]string{"SALLYPORT_CONFIG=" + file}, "", "config", "check"); code != 0 {
		t.Errorf("config check of the default: exit code %d, want 0, got\n%s", code, errs)
	}
}

func TestUnknownCommandIsExitCode2(t *testing.T) {
	code, _, errs := call(nil, "", "frobnicate")
	if code != exitUsage || !strings.Contains(errs, "--help") {
		t.Errorf("exit code %d, want 2 and \"--help\", got\n%s", code, errs)
	}
	if code, out, _ := call(nil, "", "--help"); code != 0 || !strings.Contains(out, "serve") {
		t.Errorf("--help: exit code %d, want 0 and \"serve\", got\n%s", code, out)
	}
}

// A server doesn't start without its key ring or with another portal's, and says what to do
// (F4).
func TestServeRefusesAKeyRingThatIsMissingOrForeign(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			if code, _, errs := call(environ, "a long password of ada\n", "account", "add", "ada", "--password-stdin"); code != 0 {
				t.Fatal(errs)
			}
			dir := strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR=")
			ring := filepath.Join(dir, "keyring")
			if err := os.Rename(ring, ring+".away"); err != nil {
				t.Fatal(err)
			}
			code, _, errs := call(environ, "", "serve")
			if code != exitFailed || !strings.Contains(errs, "no key ring at "+ring) {
				t.Errorf("missing ring: exit code %d, want 1, got\n%s", code, errs)
			}
			other := filepath.Join(t.TempDir(), "other")
			if code, _, errs := call([]string{"SALLYPORT_DATA_DIR=" + other}, "", "init"); code != 0 {
				t.Fatal(errs)
			}
			if err := os.Rename(filepath.Join(other, "keyring"), ring); err != nil {
				t.Fatal(err)
			}
			code, _, errs = call(environ, "", "serve")
			if code != exitFailed || !strings.Contains(errs, "not the one that this database was written with") {
				t.Errorf("foreign ring: exit code %d, want 1 and \"not the one that this database was written with\", got\n%s", code, errs)
			}
		})
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	environ := environFor(t, "sqlite")
	if code, _, errs := call(environ, "", "init"); code != 0 {
		t.Fatal(errs)
	}
	dir := strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR=")
	for _, name := range []string{"", "keyring", "sallyport.db"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q: %v, %v; want a file that only its owner can read", name, info.Mode(), err)
		}
	}
}
