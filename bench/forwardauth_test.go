package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// questions are asked of each side in a round: the kernel counts processor
	// time in hundredths of a second, so that a round must take many.
	questions = 20_000
	askers    = 16

	// tick is Linux's unit of a process's times, USER_HZ, on every machine.
	tick = 10 * time.Millisecond

	// bareVariable has the test binary serve as the bare side.
	bareVariable = "BENCH_BARE"

	panelOrigin = "http://panel.test"
)

func TestMain(m *testing.M) {
	if at := os.Getenv(bareVariable); at != "" {
		serveBare(at)
	}
	os.Exit(m.Run())
}

// serveBare answers with the status and the header that its file says: what a
// net/http server can't do without.
func serveBare(at string) {
	admit := func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Remote-User", "ada")
		h.Set("Remote-Name", "ada")
		h.Set("Remote-Email", "")
		h.Set("Remote-Groups", "")
		h.Set("Authorization", "")
	}
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"login":"http://panel.test/.sallyport/start?return=%2Frack%3Fa%3Db"}`+"\n")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/verify/caddy", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			admit(w, r)
			return
		}
		refuse(w, r)
	})
	srv := &http.Server{Addr: at, Handler: mux, ReadTimeout: time.Minute, WriteTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, srv.ListenAndServe())
	os.Exit(1)
}

// BenchmarkForwardAuth holds the processor time that the shipped binary takes
// for a question against that of a bare server, which answers with the same
// status and header.
func BenchmarkForwardAuth(b *testing.B) {
	dir, at, bareAt := b.TempDir(), freeAddress(b), freeAddress(b)
	file := filepath.Join(dir, "sallyport.yaml")
	if err := os.WriteFile(file, []byte(`public_url: http://auth.test
trusted_proxies: [127.0.0.1]
panels:
  - url: `+panelOrigin+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	environ := []string{"SALLYPORT_CONFIG=" + file, "SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_LISTEN=" + at}
	addPerson(b, file, environ)
	ours := startFor(b, at, environ)
	cookie := visitPanel(b, at)

	bare := exec.Command(os.Args[0])
	bare.Env = []string{bareVariable + "=" + bareAt}
	if err := bare.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { bare.Process.Kill(); bare.Wait() })
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if conn, err := net.Dial("tcp", bareAt); err == nil {
			conn.Close()
			break
		}
		if time.Since(begin) > answerTime {
			b.Fatal("the bare server doesn't answer")
		}
	}

	for name, sent := range map[string]string{"valid-visit": cookie, "without-cookie": ""} {
		b.Run(name, func(b *testing.B) {
			want := http.StatusOK
			if sent == "" {
				want = http.StatusUnauthorized
			}
			ask(b, at, sent, want)
			ask(b, bareAt, sent, want)
			var ratios, mine, least []float64
			for b.Loop() {
				our := asked(b, ours.cmd.Process.Pid, at, sent, want)
				limit := asked(b, bare.Process.Pid, bareAt, sent, want)
				ratios = append(ratios, float64(our)/float64(limit))
				mine, least = append(mine, float64(our)/questions), append(least, float64(limit)/questions)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(mine), "ours-ns")
			b.ReportMetric(median(least), "bare-ns")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

func addPerson(b *testing.B, file string, environ []string) {
	b.Helper()
	cfg, err := config.Load(file, environ)
	if err != nil {
		b.Fatal(err)
	}
	p, err := server.Open(b.Context(), cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Login.AddAccount(b.Context(), account.Account{Name: "ada"}, portal.Password); err != nil {
		b.Fatal(err)
	}
}

// startFor starts the binary, whose pages are for another host than it listens
// at.
func startFor(b *testing.B, at string, environ []string) *program {
	b.Helper()
	path, err := filepath.Abs(shipped)
	if err != nil {
		b.Fatal(err)
	}
	p := &program{b: b, cmd: exec.Command(path, "serve"), ended: make(chan error, 1)}
	p.cmd.Env, p.cmd.Dir = environ, b.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	b.Cleanup(p.stop)
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if page, _ := get("http://" + at + "/healthz"); page != nil {
			return p
		}
		if time.Since(begin) > answerTime {
			b.Fatal("sallyport serve doesn't answer")
		}
	}
}

var returnField = regexp.MustCompile(`name="return" value="([^"]*)"`)

// visitPanel signs in on the way to the panel and returns the visit's cookie.
func visitPanel(b *testing.B, at string) string {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	person := &http.Client{Jar: jar, Timeout: answerTime, Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, at)
	}},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.String() == panelOrigin+"/rack" {
				return http.ErrUseLastResponse // another proxy would serve that
			}
			return nil
		}}
	page, err := person.Get(panelOrigin + "/.sallyport/start?return=/rack")
	if err != nil {
		b.Fatal(err)
	}
	text, _ := io.ReadAll(page.Body)
	page.Body.Close()
	back := returnField.FindSubmatch(text)
	if back == nil {
		b.Fatalf("no sign-in page:\n%s", text)
	}
	resp, err := person.PostForm("http://auth.test/login", url.Values{
		"username": {"ada"}, "password": {portal.Password}, "return": {strings.ReplaceAll(string(back[1]), "&amp;", "&")},
	})
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	for _, c := range jar.Cookies(&url.URL{Scheme: "http", Host: "panel.test", Path: "/"}) {
		if c.Name == "sallyport-visit" {
			return c.Name + "=" + c.Value
		}
	}
	b.Fatal("no visit")
	return ""
}

// ask asks once as many as [questions], from [askers] at a time.
func ask(b *testing.B, at, cookie string, want int) {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: askers}
	defer transport.CloseIdleConnections()
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			for range questions / askers {
				req, _ := http.NewRequest(http.MethodGet, "http://"+at+"/verify/caddy", nil)
				req.Host = "sallyport"
				for name, value := range map[string]string{
					"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "panel.test",
					"X-Forwarded-Uri": "/rack?a=b", "X-Forwarded-For": "192.0.2.7", "Cookie": cookie,
				} {
					if value != "" {
						req.Header.Set(name, value)
					}
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != want {
					b.Errorf("%s answers %d, not %d", at, resp.StatusCode, want)
					return
				}
			}
		})
	}
	all.Wait()
}

// asked returns the processor time that a process took for the questions.
func asked(b *testing.B, process int, at, cookie string, want int) time.Duration {
	b.Helper()
	begin := timesOf(b, process)
	ask(b, at, cookie, want)
	return timesOf(b, process) - begin
}

// timesOf returns the processor time, user and system, of a process so far.
func timesOf(b *testing.B, process int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process))
	if err != nil {
		b.Fatal(err)
	}
	// After the name, which may hold anything: utime and stime are the 14th
	// and 15th of all.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatal("/proc/…/stat isn't what it was")
	}
	return time.Duration(user+system) * tick
}
