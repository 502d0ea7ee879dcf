package telling

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// hookSecret is the secret of the example in docs/webhooks.md.
const hookSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// hook is a receiver of webhook requests. It verifies their signatures with code of its own.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	status int // status of its next answers
	got    []received
}

type received struct {
	id, at, kind, username, event string
}

func startHook(t *testing.T) *hook {
	h := &hook{status: 204}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		if got := r.Header.Get("Webhook-Signature"); got != signature(id, at, text) {
			t.Errorf("a request has the signature %q, want %q, of the body %s", got, signature(id, at, text), text)
		}
		var e struct {
			Type string
			Data struct{ Username, Event string }
		}
		if err := json.Unmarshal(text, &e); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, received{id, at, e.Type, e.Data.Username, e.Data.Event})
		w.WriteHeader(h.status)
	}))
	t.Cleanup(h.Close)
	return h
}

func signature(id, at string, body []byte) string {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(hookSecret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, id+"."+at+"."+string(body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// answer sets the status of the answers that follow.
func (h *hook) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func (h *hook) requests() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]received(nil), h.got...)
}

// hookSettings returns the settings of a portal that sends webhook requests to rawURL.
func hookSettings(t *testing.T, rawURL string) []string {
	file := filepath.Join(t.TempDir(), "secret")
	testkit.Check(t, os.WriteFile(file, []byte(hookSecret+"\n"), 0o600))
	return []string{"SALLYPORT_WEBHOOK_URL=" + rawURL, "SALLYPORT_WEBHOOK_SECRET_FILE=" + file, "SALLYPORT_WEBHOOK_NETWORKS=127.0.0.1"}
}

// A change of the password causes one request to the webhook's receiver. The portal repeats it after
// answers 500 and 401, gives it up after 410, and /readyz shows the receiver's last answer.
func TestChangesBecomeRequests(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			h := startHook(t)
			p := portal.Start(t, engine, append(hookSettings(t, h.URL+"/hook?token=canary"), "SALLYPORT_WEBHOOK_EVENTS=password_set,two_factor_enabled")...)
			ada := p.AddAccount(t, "ada")
			set := func() {
				t.Helper()
				p.Clock.Move(time.Second) // so that the event of the last call is the newest
				testkit.Check(t, p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, "another long password"))
			}
			waiting := func() int { return portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`) }
			tried := func(n int) {
				t.Helper()
				testkit.Until(t, fmt.Sprint(n, " requests"), func() bool {
					return len(h.requests()) == n && portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox WHERE claimed_until IS NOT NULL`) == 0
				})
			}
			readyz := func(want string) {
				t.Helper()
				p.Clock.Move(2 * time.Second) // readyz caches its answer that long
				if a := p.Browser(t).Get("/readyz"); a.Status != 200 || !strings.Contains(a.Body, want) {
					t.Errorf("readyz: %d\n%s\nwant 200 and %q", a.Status, a.Body, want)
				}
			}
			readyz("webhook: ok")
			p.Browser(t).SignIn("ada") // causes new_browser, which isn't among the configured events
			h.answer(500)
			set()
			tried(1)
			h.answer(401)
			p.Clock.Move(2 * time.Minute)
			tried(2)
			readyz("webhook: the receiver answered 401; check its secret")
			h.answer(204)
			p.Clock.Move(10 * time.Minute)
			tried(3)
			readyz("webhook: ok")
			got := h.requests()
			events, err := audit.List(t.Context(), p.DB.Reader(), ada.ID, audit.Cursor{}, 1)
			if err != nil || len(events) != 1 || waiting() != 0 {
				t.Fatalf("list the newest event: error %v, %d events; %d messages wait; want one event and no message", err, len(events), waiting())
			}
			for i, one := range got {
				if want := (received{events[0].ID, one.at, "password_set", "ada", events[0].ID}); one != want || i > 0 && one.at <= got[i-1].at {
					t.Errorf("request %d: %+v, want %+v, and a later time than that of the request before", i, one, want)
				}
			}

			h.answer(410)
			set()
			tried(4)
			readyz("webhook: the receiver answered 410; it wants no more messages: correct or remove its URL")
			if got := portal.EventCounts(t, p)["webhook_given_up:refused"]; got != 1 || waiting() != 0 {
				t.Errorf("after the answer 410: %d events webhook_given_up, and %d messages wait; want one and none", got, waiting())
			}
			if logs := p.Logs.String(); !strings.Contains(logs, "the receiver answered 410") || strings.Contains(logs, "canary") {
				t.Error("the log doesn't have the answer 410, or has the query of the receiver's URL")
			}

			h.answer(503)
			set()
			tried(5)
			testkit.Check(t, maintenance.PurgeForgotten(t.Context(), p.DB, "a backup", p.Clock.Now(), false))
			if waiting() != 0 {
				t.Errorf("after a restore, %d messages wait, want none", waiting())
			}
		})
	}
}

// Two nodes send each event once, even if the receiver can't be reached at first.
func TestTwoNodesSendEachEventOnce(t *testing.T) {
	t.Parallel()
	h := startHook(t)
	address := h.Listener.Addr().String()
	nodes := portal.StartNodes(t, 2, hookSettings(t, h.URL)...)
	ada := nodes[0].AddAccount(t, "ada")
	h.Server.Close() // the connection is refused from now on
	const n = 20
	for i := range n {
		testkit.Check(t, nodes[i%2].Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, "another long password"))
	}
	testkit.Until(t, "every event was tried", func() bool {
		return portal.CountRows(t, nodes[0], `SELECT COUNT(*) FROM outbox WHERE tries = 1 AND claimed_until IS NULL AND last_error LIKE '%refused%'`) == n
	})
	l, err := net.Listen("tcp", address)
	testkit.Check(t, err)
	back := &http.Server{Handler: h.Config.Handler}
	go back.Serve(l)
	t.Cleanup(func() { back.Close() })
	portal.MoveAll(nodes, 2*time.Minute)
	testkit.Until(t, "the queue is empty", func() bool { return portal.CountRows(t, nodes[0], `SELECT COUNT(*) FROM outbox`) == 0 })
	ids := map[string]bool{}
	for _, one := range h.requests() {
		ids[one.id] = true
	}
	if got := len(h.requests()); got != n || len(ids) != n {
		t.Errorf("the receiver got %d requests with %d different ids, want %d of each", got, len(ids), n)
	}
}

// docs/webhooks.md lists every type of event, its example has the right signature, and the receiver that
// it shows accepts genuine requests and refuses forged ones.
func TestDocumentationOfWebhooks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(testkit.Path("docs/webhooks.md"))
	testkit.Check(t, err)
	page := string(text)
	for _, kind := range notice.Kinds() {
		if !regexp.MustCompile("(?m)^\\|.*`" + string(kind) + "`.*\\|$").MatchString(page) {
			t.Errorf("the table of docs/webhooks.md lacks the type %s", kind)
		}
	}
	example := regexp.MustCompile(`(?s)webhook-id: (\S+)\nwebhook-timestamp: (\S+)\nwebhook-signature: (\S+)\n\n(\{.*?\})\n`).FindStringSubmatch(page)
	if example == nil || signature(example[1], example[2], []byte(example[4])) != example[3] || !strings.Contains(page, hookSecret) {
		t.Fatalf("the example in docs/webhooks.md is %q, want a whole request with the right signature, and the secret %s on the page", example, hookSecret)
	}
	_, script, _ := strings.Cut(page, "```js\n")
	script, _, _ = strings.Cut(script, "```")
	script = strings.Replace(script, `.listen(process.env.PORT ?? 8080, "127.0.0.1");`, `.listen(0, "127.0.0.1", function () { console.log(this.address().port); });`, 1)
	node := exec.CommandContext(t.Context(), "node", "-e", script)
	node.Env = append(os.Environ(), "WEBHOOK_SECRET="+hookSecret)
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	testkit.Check(t, err)
	testkit.Check(t, node.Start())
	t.Cleanup(func() { node.Process.Kill(); node.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the receiver of docs/webhooks.md doesn't print its port")
	}
	rawURL := "http://127.0.0.1:" + lines.Text()
	send := func(age time.Duration, forge func(http.Header)) int {
		at := fmt.Sprint(time.Now().Add(-age).Unix())
		r, err := http.NewRequestWithContext(t.Context(), "POST", rawURL, strings.NewReader(example[4]))
		testkit.Check(t, err)
		r.Header.Set("webhook-id", "e1")
		r.Header.Set("webhook-timestamp", at)
		r.Header.Set("webhook-signature", "v1,AAAA "+signature("e1", at, []byte(example[4])))
		forge(r.Header)
		a, err := http.DefaultClient.Do(r)
		testkit.Check(t, err)
		a.Body.Close()
		return a.StatusCode
	}
	for name, got := range map[string]int{
		"another id":     send(0, func(h http.Header) { h.Set("webhook-id", "e2") }),
		"an old request": send(time.Hour, func(http.Header) {}),
		"no timestamp":   send(0, func(h http.Header) { h.Del("webhook-timestamp") }),
		"no signature":   send(0, func(h http.Header) { h.Del("webhook-signature") }),
		"another version": send(0, func(h http.Header) {
			h.Set("webhook-signature", strings.ReplaceAll(h.Get("webhook-signature"), "v1,", "v2,"))
		}),
		"nothing to verify": send(0, func(h http.Header) { h.Set("webhook-signature", "v1,") }),
	} {
		if got != 401 {
			t.Errorf("a forged request with %s: %d, want 401", name, got)
		}
	}
	if got := send(0, func(http.Header) {}); got != 204 || !lines.Scan() || lines.Text() != "e1 backup_code_used" {
		t.Errorf("a genuine request: %d, and the receiver prints %q; want 204 and \"e1 backup_code_used\"", got, lines.Text())
	}
}
