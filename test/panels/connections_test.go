package panels

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// rawPanel starts a panel that reads the head of one request on each connection, sends the
// head to the channel, writes answer as it stands and closes the connection. It also
// returns the panel's origin.
func rawPanel(t *testing.T, answer string) (heads <-chan string, origin string) {
	t.Helper()
	return connectionPanel(t, func(conn net.Conn, heads chan<- string) {
		defer conn.Close()
		head, err := readHead(bufio.NewReader(conn))
		if err != nil {
			return
		}
		heads <- head
		io.WriteString(conn, answer)
	})
}

// connectionPanel starts a panel that calls serve for each connection, and returns the
// channel that serve sends to and the panel's origin.
func connectionPanel(t *testing.T, serve func(conn net.Conn, heads chan<- string)) (heads <-chan string, origin string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	all := make(chan string, 1000)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn, all)
		}
	}()
	return all, "http://" + listener.Addr().String()
}

// readHead reads a request line and headers, but no body.
func readHead(r *bufio.Reader) (string, error) {
	head := ""
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			return head, err
		}
		head += line
	}
	return head, nil
}

// Small servers keep connections open and don't read the bodies of requests. A body that a
// stranger sends must not be read as the next request on the connection, with forged
// identity headers.
func TestUnreadBodyDoesNotBecomeARequest(t *testing.T) {
	t.Parallel()
	heads, at := connectionPanel(t, func(conn net.Conn, heads chan<- string) {
		defer conn.Close()
		for r := bufio.NewReader(conn); ; {
			head, err := readHead(r)
			if err != nil {
				return
			}
			heads <- head
			line, _, _ := strings.Cut(head, "\r\n")
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(line), line)
			if strings.Contains(head, "\r\nConnection: close\r\n") {
				return
			}
		}
	})
	p := panels.GuardedAt(t, at, "    rules: [{path: /open/, require: nothing}]")
	p.AddAccount(t, "ada")
	ada := panels.Visit(t, p, "ada", panels.Radio+"/")
	inner := "POST /admin/delete HTTP/1.1\r\nHost: radio.example\r\nRemote-User: root1\r\n\r\n"
	for name, attack := range map[string]func(){
		"a GET with a body": func() { p.Browser(t).Do("GET", panels.Radio+"/open/", strings.NewReader(inner), nil) },
		"a form":            func() { p.Browser(t).Do("POST", panels.Radio+"/open/", strings.NewReader(inner), nil) },
		"chunks": func() {
			portal.RawAnswer(t, p, fmt.Sprintf("PUT /open/ HTTP/1.1\r\nHost: radio.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner))
		},
		"Expect: 100-continue": func() {
			portal.RawAnswer(t, p, fmt.Sprintf("POST /open/ HTTP/1.1\r\nHost: radio.example\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner))
		},
		"a form with NTLM": func() {
			p.Browser(t).Do("POST", panels.Radio+"/open/", strings.NewReader(inner), http.Header{"Authorization": {"NTLM x"}})
		},
		"a signed-in user's body": func() { ada.Do("DELETE", panels.Radio+"/open/", strings.NewReader(inner), nil) },
	} {
		for range 3 {
			attack()
			if a := ada.Get(panels.Radio + "/mine"); a.Body != "GET /mine HTTP/1.1" {
				t.Errorf("%s: ada asked for /mine and got the answer to %q", name, a.Body)
			}
		}
	}
	for len(heads) > 0 {
		if head := <-heads; strings.HasPrefix(head, "POST /admin/delete") {
			t.Fatalf("the panel read a body as the request\n%s", head)
		}
	}
}

// HTTP/2 separates requests on a connection by itself, so the gateway opens no new
// connection after a form.
func TestHTTP2PanelKeepsItsConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	connections := map[string]bool{}
	panel := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
		mu.Lock()
		connections[r.RemoteAddr] = true
		mu.Unlock()
		w.Header().Set("X-Proto", r.Proto)
	}))
	panel.EnableHTTP2 = true
	panel.StartTLS()
	t.Cleanup(panel.Close)
	sum := sha256.Sum256(panel.Certificate().Raw)
	p := panels.GuardedAt(t, panel.URL, fmt.Sprintf("    upstream_fingerprint: \"%x\"", sum), "    rules: [{path: /open/, require: nothing}]")
	b := p.Browser(t)
	b.Get(panels.Radio + "/open/")
	for i := range 10 {
		if a := b.Do("POST", panels.Radio+"/open/", strings.NewReader("x"), nil); a.Status != http.StatusOK || a.Body != "x" {
			t.Fatalf("form %d: %s %q, want 200 and its own body", i, portal.Summary(a), a.Body)
		}
	}
	if len(connections) > 2 {
		t.Errorf("ten forms took %d connections, want at most 2", len(connections))
	}
}

// mailbox is a panel that authenticates a connection instead of a request, with three
// messages, as NTLM does.
type mailbox struct{}

type connKey struct{}

func (m *mailbox) start(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(m)
	s.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, &struct{ name string }{})
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func (m *mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	known := r.Context().Value(connKey{}).(*struct{ name string })
	scheme, word, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case word == "hello":
		known.name = "?"
		w.Header().Set("WWW-Authenticate", scheme+" challenge")
		w.WriteHeader(http.StatusUnauthorized)
		return
	case strings.HasPrefix(word, "proof-of-") && known.name == "?":
		known.name = strings.TrimPrefix(word, "proof-of-")
	case known.name == "" || known.name == "?":
		w.Header()["Www-Authenticate"] = []string{"Negotiate, NTLM", `Basic realm="mail, of all"`}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, "mail of %s, gate says %s", known.name, r.Header.Get("Remote-User"))
}

func auth(value string) http.Header { return http.Header{"Authorization": {value}} }

func TestNTLMConnectionServesOnlyItsUser(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"NTLM", "Negotiate", "ntlm"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			p := panels.GuardedAt(t, (&mailbox{}).start(t), "    rules: [{path: /open/, require: nothing}]")
			p.AddAccount(t, "ada")
			p.AddAccount(t, "bob")
			ada, bob := panels.Visit(t, p, "ada", panels.Radio+"/"), panels.Visit(t, p, "bob", panels.Radio+"/")
			first := ada.Get(panels.Radio + "/mail")
			if first.Status != http.StatusUnauthorized || first.Header.Get("Proxy-Support") != "Session-Based-Authentication" || len(first.Header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("a request without credentials: %s %v, want 401 with the panel's challenges", portal.Summary(first), first.Header)
			}
			if a := ada.Do("GET", panels.Radio+"/mail", nil, auth(scheme+" hello")); a.Header.Get("WWW-Authenticate") != scheme+" challenge" {
				t.Fatalf("ada's first message gets %s %v, want the panel's challenge", portal.Summary(a), a.Header)
			}
			if a := ada.Do("GET", panels.Radio+"/mail", nil, auth(scheme+" proof-of-ada")); a.Body != "mail of ada, gate says ada" {
				t.Fatalf("ada's third message gets %s %s, want ada's mail", portal.Summary(a), a.Body)
			}
			if a := ada.Get(panels.Radio + "/mail"); a.Body != "mail of ada, gate says ada" {
				t.Errorf("ada's next request on the connection gets %s %s, want ada's mail", portal.Summary(a), a.Body)
			}
			// The gateway closes the connection after a form, in case the panel left a part of
			// the body unread. ada's browser then authenticates again.
			if a := ada.Do("POST", panels.Radio+"/mail", strings.NewReader("x"), nil); a.Body != "mail of ada, gate says ada" {
				t.Errorf("ada's form on the connection gets %s %s, want ada's mail", portal.Summary(a), a.Body)
			}
			ada.Do("GET", panels.Radio+"/mail", nil, auth(scheme+" hello"))
			ada.Do("GET", panels.Radio+"/mail", nil, auth(scheme+" proof-of-ada"))
			for range 20 {
				if a := bob.Get(panels.Radio + "/mail"); a.Status != http.StatusUnauthorized {
					t.Fatalf("bob, who isn't authenticated at the panel, gets %q, want 401", a.Body)
				}
				if a := p.Browser(t).Get(panels.Radio + "/open/mail"); a.Status != http.StatusUnauthorized {
					t.Fatalf("a stranger gets %q, want 401", a.Body)
				}
			}
		})
	}
}

// If a proxy sends the requests of several users to the gateway over one connection, the panel's
// authentication of one user doesn't apply to the others.
func TestNTLMConnectionBehindAProxyServesOnlyItsUser(t *testing.T) {
	t.Parallel()
	p := panels.GuardedAt(t, (&mailbox{}).start(t), "trusted_proxies: [127.0.0.1]", "    rules: [{path: /open/, require: nothing}]")
	p.AddAccount(t, "ada")
	p.AddAccount(t, "bob")
	conn := portal.Dial(t, p)
	reader := bufio.NewReader(conn)
	ask := func(b *portal.Browser, path, authorization string) string {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: radio.example\r\n", path)
		if b != nil {
			fmt.Fprintf(conn, "Cookie: sallyport-visit=%s\r\n", b.CookieAt(panels.Radio, "sallyport-visit"))
		}
		if authorization != "" {
			fmt.Fprintf(conn, "Authorization: %s\r\n", authorization)
		}
		io.WriteString(conn, "\r\n")
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		io.Copy(&body, resp.Body)
		return body.String()
	}
	ada, bob := panels.Visit(t, p, "ada", panels.Radio+"/"), panels.Visit(t, p, "bob", panels.Radio+"/")
	ask(ada, "/mail", "NTLM hello")
	if body := ask(ada, "/mail", "NTLM proof-of-ada"); body != "mail of ada, gate says ada" {
		t.Fatalf("ada's third message gets %q, want ada's mail", body)
	}
	if body := ask(bob, "/mail", ""); strings.Contains(body, "mail of") {
		t.Errorf("bob, who isn't authenticated at the panel, gets %q, want no user's mail", body)
	}
	// The gateway can't distinguish two strangers, so neither keeps an authenticated
	// connection.
	ask(nil, "/open/mail", "NTLM hello")
	ask(nil, "/open/mail", "NTLM proof-of-carl")
	if body := ask(nil, "/open/mail", ""); strings.Contains(body, "mail of") {
		t.Errorf("a stranger after carl gets %q, want no user's mail", body)
	}
}
