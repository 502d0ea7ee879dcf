package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

const (
	key1 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	key2 = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	now      = time.Unix(1_795_000_000, 999_000_000)
)

// newClient returns a client for the URL that signs with the secrets and may send to loopback.
func newClient(t *testing.T, rawURL string, secrets ...string) *Client {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []string{key1}
	}
	u, err := url.Parse(rawURL)
	testkit.Check(t, err)
	keys, err := ParseSecrets(strings.Join(secrets, "\n"))
	testkit.Check(t, err)
	return &Client{URL: u, Keys: keys, Networks: []netip.Prefix{loopback}}
}

// receive starts a receiver on loopback.
func receive(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s
}

// verify checks a request with one secret, as the specification tells receivers to.
func verify(r *http.Request, body []byte, secretText string, now time.Time) error {
	id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("timestamp %q, want one within 5 minutes of %v", at, now)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretText, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(bytes.Join([][]byte{[]byte(id), []byte(at), body}, []byte(".")))
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for one := range strings.SplitSeq(r.Header.Get("Webhook-Signature"), " ") {
		if version, got, _ := strings.Cut(one, ","); version == "v1" && hmac.Equal([]byte(got), []byte(want)) {
			return nil
		}
	}
	return errors.New("no signature matches")
}

func TestRequestsAreSigned(t *testing.T) {
	for name, secrets := range map[string][]string{"one secret": {key1}, "two during a change": {key2, key1}} {
		var failed error
		s := receive(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			for _, one := range secrets {
				failed = errors.Join(failed, verify(r, body, one, now))
			}
			if n := len(strings.Fields(r.Header.Get("Webhook-Signature"))); n != len(secrets) {
				failed = errors.Join(failed, fmt.Errorf("%d signatures, want one for each of %d secrets", n, len(secrets)))
			}
			if verify(r, append(body, ' '), key1, now) == nil || verify(r, body, "whsec_"+strings.Repeat("A", 32), now) == nil || verify(r, body, key1, now.Add(time.Hour)) == nil {
				failed = errors.Join(failed, errors.New("the verifier accepts anything"))
			}
			if r.Method != "POST" || r.RequestURI != "/hook?x=1" || r.Header.Get("Content-Type") != "application/json" || string(body) != "{}" || r.Header.Get("Webhook-Id") != "e1" {
				failed = errors.Join(failed, fmt.Errorf("got %s %s %v %s; want POST /hook?x=1, application/json, the Webhook-Id e1 and {}", r.Method, r.RequestURI, r.Header, body))
			}
			w.WriteHeader(http.StatusNoContent)
		})
		status, err := newClient(t, s.URL+"/hook?x=1", secrets...).Send(t.Context(), "e1", now, []byte("{}"))
		if status != http.StatusNoContent || err != nil || failed != nil {
			t.Errorf("%s: status %d, %v; want 204. The receiver found: %v", name, status, err, failed)
		}
	}
}

// The test vector comes from the libraries of Standard Webhooks.
func TestSignatureIsThatOfTheSpecification(t *testing.T) {
	keys, err := ParseSecrets(key1)
	testkit.Check(t, err)
	got := Sign(keys[0], "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestIDsThatCannotBeSignedAreRefused(t *testing.T) {
	for _, id := range []string{"", "a.1"} {
		if _, err := newClient(t, "http://127.0.0.1:1").Send(t.Context(), id, now, nil); err == nil || !strings.Contains(err.Error(), "can't be signed") {
			t.Errorf("id %q: %v, want an error that it can't be signed", id, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var requests atomic.Int32
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := receive(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			http.Redirect(w, r, "http://"+r.Host+"/elsewhere", status)
		})
		if got, err := newClient(t, s.URL).Send(t.Context(), "e1", now, nil); got != status || err != nil {
			t.Errorf("a redirect with status %d: got %d, %v; want its status", status, got, err)
		}
	}
	if n := requests.Load(); n != 5 {
		t.Errorf("5 redirects led to %d requests, want 5", n)
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	proxy := receive(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	s := receive(t, func(http.ResponseWriter, *http.Request) {})
	if status, err := newClient(t, s.URL).Send(t.Context(), "e1", now, nil); status != 200 || err != nil {
		t.Errorf("without the proxy: status %d, %v; want 200", status, err)
	}
}

// An answer with an endless body or endless headers takes a few kilobytes of memory.
func TestHugeAnswersAreCutOff(t *testing.T) {
	const huge = 1 << 30
	written := make(chan int64, 1)
	s := receive(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(w, io.LimitReader(zeros{}, huge))
		written <- n
	})
	var lines []string
	c := newClient(t, s.URL)
	c.Trace = func(line string) { lines = append(lines, line) }
	if status, err := c.Send(t.Context(), "e1", now, nil); status != 200 || err != nil {
		t.Errorf("an endless body: status %d, %v; want 200", status, err)
	}
	if n := <-written; n >= huge/8 { // more than the socket buffers of both sides hold
		t.Errorf("%d bytes were written before the connection ended, want fewer than %d", n, int64(huge/8))
	}
	if last := lines[len(lines)-1]; len(last) > 4*maxAnswer+10 { // the trace quotes each byte as \x00
		t.Errorf("%d characters of the answer are kept, want at most %d", len(last), 4*maxAnswer+10)
	}

	raw := listen(t, func(conn net.Conn) {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
		for range huge / 100 {
			if _, err := fmt.Fprintf(conn, "X-A: %s\r\n", strings.Repeat("a", 90)); err != nil {
				return
			}
		}
	})
	if status, err := newClient(t, raw).Send(t.Context(), "e1", now, nil); err == nil {
		t.Errorf("endless headers: status %d, want an error", status)
	}
	interim := listen(t, func(conn net.Conn) {
		for {
			if _, err := fmt.Fprintf(conn, "HTTP/1.1 103 Early Hints\r\nX-A: %s\r\n\r\n", strings.Repeat("a", 90)); err != nil {
				return
			}
		}
	})
	if status, err := newClient(t, interim).Send(t.Context(), "e1", now, nil); err == nil {
		t.Errorf("endless interim answers: status %d, want an error", status)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// listen starts a server on loopback that calls answer after the headers of a request.
func listen(t *testing.T, answer func(net.Conn)) (rawURL string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.Read(make([]byte, 64<<10))
				answer(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// A receiver that hangs delays Send by at most the time limit of a request. A status that has
// arrived by then counts.
func TestReceiversThatHang(t *testing.T) {
	hang := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			io.WriteString(conn, text)
			conn.Read(make([]byte, 1)) // until the client ends the connection
		}
	}
	for name, test := range map[string]struct {
		text   string
		status int
	}{
		"before the answer":     {"", 0},
		"within the headers":    {"HTTP/1.1 200 OK\r\nX-A: ", 0},
		"within the body":       {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 200},
		"within a refusal":      {"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nabc", 500},
		"with an interim":       {"HTTP/1.1 100 Continue\r\n\r\n", 0},
		"no HTTP":               {"220 mail.example.com ESMTP\r\n", 0},
		"an upgrade":            {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 101},
		"a chunk without end":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffff\r\n", 200},
		"two lengths":           {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0},
		"a status of four":      {"HTTP/1.1 2000 OK\r\n\r\n", 0},
		"the oldest HTTP":       {"ok", 0},
		"a body without length": {"HTTP/1.1 204 No Content\r\n\r\nabc", 204},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			status, err := newClient(t, listen(t, hang(test.text))).Send(ctx, "e1", now, []byte("{}"))
			if status != test.status || (err == nil) != (test.status != 0) {
				t.Errorf("status %d, %v; want %d", status, err, test.status)
			}
		})
	}
}

func TestTLSIsVerified(t *testing.T) {
	ca := testkit.NewCA(t)
	at := time.Now()
	cert, key := ca.IssueFor(t.TempDir(), "hook", at.Add(-time.Hour), at.Add(time.Hour), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	testkit.Check(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newClient(t, s.URL)
	if _, err := c.Send(t.Context(), "e1", now, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of an unknown CA: %v, want an error about the certificate", err)
	}
	c.Roots = ca.Roots
	if status, err := c.Send(t.Context(), "e1", now, nil); status != 200 || err != nil {
		t.Errorf("a certificate of a known CA: status %d, %v; want 200", status, err)
	}
}

// The trace shows what was sent, but neither of the two keys.
func TestTraceHidesKeys(t *testing.T) {
	s := receive(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "\x1b[31mred\n") })
	var trace strings.Builder
	c := newClient(t, s.URL, key1, key2)
	c.Trace = func(line string) { trace.WriteString(line + "\n") }
	_, err := c.Send(t.Context(), "e1", now, []byte(`{"type":"test"}`))
	testkit.Check(t, err)
	for _, want := range []string{"-> POST /\n", "-> webhook-id: e1\n", "-> webhook-timestamp: 1795000000\n", "-> webhook-signature: v1,", "-> {\"type\":\"test\"}\n", "<- \"200 OK\"\n", `<- "\x1b[31mred\n"`} {
		if !strings.Contains(trace.String(), want) {
			t.Errorf("there is no %q in\n%s", want, trace.String())
		}
	}
	for _, key := range c.Keys {
		if strings.Contains(trace.String(), base64.StdEncoding.EncodeToString([]byte(key.Reveal()))) || strings.Contains(trace.String(), key.Reveal()) {
			t.Error("the trace has a key")
		}
	}
}

func TestParseSecrets(t *testing.T) {
	for text, want := range map[string]string{
		key1:                        "1",
		key1 + "\n":                 "1",
		"\r\n" + key2 + "\r\n":      "1",
		key1 + "\n\n" + key2 + "\n": "2",
		"":                          "contains no secret",
		"\n\n":                      "contains no secret",
		key1 + "\n" + key1:          "contains the same secret twice",
		key1 + "\n" + key2 + "\nwhsec_" + strings.Repeat("A", 32): "contains more than 2 secrets",
		"hunter2":                                "line 1 doesn't begin with whsec_",
		key1 + "\n " + key2:                      "line 2 doesn't begin with whsec_",
		key1 + " ":                               "line 1 isn't base64 after whsec_",
		key1 + "\r\r\n":                          "line 1 isn't base64 after whsec_",
		"whsec_hunter2!":                         "line 1 isn't base64 after whsec_",
		strings.TrimSuffix(key2, "="):            "line 1 isn't base64 after whsec_",
		strings.Replace(key2, "Hh8=", "Hh9=", 1): "line 1 isn't base64 after whsec_", // unused bits are set
		"whsec_-_" + key1[8:]:                    "line 1 isn't base64 after whsec_",
		"whsec_aHVudGVyMg==":                     "line 1 has a key of 7 bytes, not 24 to 64",
		"whsec_" + strings.Repeat("AAAA", 22):    "line 1 has a key of 66 bytes, not 24 to 64",
		"whsec_":                                 "line 1 has a key of 0 bytes, not 24 to 64",
	} {
		keys, err := ParseSecrets(text)
		got := strconv.Itoa(len(keys))
		if err != nil {
			got = err.Error()
		}
		if got != want || strings.Contains(got, "hunter2") {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzParseSecrets(f *testing.F) {
	f.Add(key1)
	f.Add(key1 + "\r\n\n" + key2 + "\n")
	f.Add("whsec_\n=")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseSecrets(text)
		if err != nil {
			if len(err.Error()) > 80 {
				t.Errorf("the error repeats the text: %v", err)
			}
			return
		}
		var again []string
		for _, key := range keys {
			if n := len(key.Reveal()); n < minKey || n > maxKey {
				t.Errorf("a key has %d bytes, want %d to %d", n, minKey, maxKey)
			}
			again = append(again, secretPrefix+base64.StdEncoding.EncodeToString([]byte(key.Reveal())))
		}
		if len(keys) == 0 || len(keys) > MaxSecrets || strings.Join(strings.Fields(text), "\n") != strings.Join(again, "\n") {
			t.Errorf("%q has %d keys, printed as %q; want the same keys", text, len(keys), again)
		}
		if shown := fmt.Sprintf("%v %+v %#v", keys, keys, Client{Keys: keys}); strings.Contains(shown, keys[0].Reveal()) {
			t.Error("a key is printed")
		}
	})
}
