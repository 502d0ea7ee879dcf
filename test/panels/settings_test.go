package panels

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Devices often have a self-signed certificate for a name that isn't their address.
func TestPanelsCertificateMustMatchItsSettings(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "device"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"device.internal"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	testkit.Check(t, err)
	panel := httptest.NewUnstartedServer(http.HandlerFunc(panels.AnswerWithRequest))
	panel.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	panel.StartTLS()
	t.Cleanup(panel.Close)
	ca := panels.WriteConfig(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	sum := sha256.Sum256(der)
	right := strings.ToUpper(strings.TrimSuffix(fmt.Sprintf("% x", sum), " "))
	right = strings.ReplaceAll(right, " ", ":")
	for name, test := range map[string]struct {
		settings string
		want     int
	}{
		"no setting":              {"", http.StatusBadGateway},
		"its fingerprint":         {"    upstream_fingerprint: \"" + right + "\"", http.StatusOK},
		"another fingerprint":     {"    upstream_fingerprint: " + strings.Repeat("ab", 32), http.StatusBadGateway},
		"its CA without its name": {"    upstream_ca: " + ca, http.StatusBadGateway},
		"its CA and its name":     {"    upstream_ca: " + ca + "\n    upstream_name: device.internal", http.StatusOK},
		"its CA and another name": {"    upstream_ca: " + ca + "\n    upstream_name: other.internal", http.StatusBadGateway},
		"its name without its CA": {"    upstream_name: device.internal", http.StatusBadGateway},
	} {
		p := panels.GuardedAt(t, panel.URL, test.settings, "    rules: [{path: /open/, require: nothing}]")
		a := p.Browser(t).Get(panels.Radio + "/open/")
		if a.Status != test.want {
			t.Errorf("%s: %s, want %d", name, portal.Summary(a), test.want)
		}
		if test.want != http.StatusOK && (!strings.Contains(a.Body, "isn’t the expected one") || !strings.Contains(p.Logs.String(), "upstream_fingerprint")) {
			t.Errorf("%s: the page or the log doesn't mention the certificate:\n%s", name, portal.VisibleText(a.Body))
		}
	}
}

// The gateway refuses a request of its own that comes back to it, even on an open path, even if the
// proxy that sends it back joins header lines, and even by way of another panel.
func TestARequestThatComesBackIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for name, hosts := range map[string]map[string]string{
		"one panel":  {"radio.example": "radio.example"},
		"two panels": {"radio.example": "video.test", "video.test": "radio.example"},
	} {
		var gate atomic.Value
		var passed atomic.Int32
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", gate.Load().(string), hosts[r.In.Host]
				r.Out.Header.Set("Sallyport-Loop", strings.Join(r.In.Header["Sallyport-Loop"], ","))
				if passed.Add(1) > 20 {
					r.Out.URL.Host = "127.0.0.1:1" // end the loop
				}
			},
			ErrorLog: log.New(io.Discard, "", 0),
		})
		t.Cleanup(front.Close)
		open := "    rules: [{path: /open/, require: nothing}]"
		p := panels.GuardedAt(t, front.URL, open, "  - url: "+panels.Video, "    upstream: "+front.URL, open)
		gate.Store(p.At)
		a := p.Browser(t).Get(panels.Radio + "/open/x")
		if a.Status != http.StatusBadGateway || int(passed.Load()) != len(hosts) || !strings.Contains(p.Logs.String(), "upstream leads back to Sallyport") {
			t.Errorf("%s: %s after %d requests, want 502 after %d and a log line that upstream leads back to Sallyport\n%s", name, portal.Summary(a), passed.Load(), len(hosts), p.Logs)
		}
	}
}

// The gateway recognizes its own requests by the header Sallyport-Loop. It keeps a panel's mark if the
// panel forwards a request to another panel, and removes marks that a client made up.
func TestOnlyTheGatewayMarksRequests(t *testing.T) {
	t.Parallel()
	var gate atomic.Value
	forwards := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", gate.Load().(string), "video.test"
	}})
	t.Cleanup(forwards.Close)
	open := "    rules: [{path: /open/, require: nothing}]"
	p := panels.GuardedAt(t, forwards.URL, open, "  - url: "+panels.Video, "    upstream: "+panels.StartPanel(t, "video").URL, open)
	gate.Store(p.At)
	got := panels.Received(t, p.Browser(t).Get(panels.Radio+"/open/x")).Header["Sallyport-Loop"]
	if len(got) != 2 || !strings.HasSuffix(got[0], " "+panels.Radio) || !strings.HasSuffix(got[1], " "+panels.Video) {
		t.Fatalf("the second panel gets the marks %q in Sallyport-Loop, want one of each panel", got)
	}
	for _, name := range []string{"Sallyport-Loop", "sallyport_loop", "Sallyport.Loop"} {
		for _, value := range []string{panels.Video, " " + panels.Video, strings.Repeat("0", 32) + " " + panels.Video} {
			a := p.Browser(t).Do("GET", panels.Video+"/open/x", nil, http.Header{name: {value}})
			if h := panels.Received(t, a).Header; len(h["Sallyport-Loop"]) != 1 || h["Sallyport-Loop"][0] != got[1] || h["Sallyport_loop"] != nil || h["Sallyport.loop"] != nil {
				t.Errorf("a client sends %s: %q: the panel gets the headers %q, want only the gateway's mark", name, value, h)
			}
		}
	}
}

// If upstream names the proxy in front of Sallyport, or has https:// for a server without TLS, users get
// the page of a panel that doesn't respond, and the log says which upstream to write.
func TestWrongUpstreamsAreExplainedInTheLog(t *testing.T) {
	t.Parallel()
	var gate atomic.Value
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", gate.Load().(string), r.In.Host
	}})
	t.Cleanup(front.Close)
	for upstream, want := range map[string]string{
		front.URL: "upstream leads back to Sallyport: name the panel's own server",
		strings.Replace(front.URL, "http://", "https://", 1): "write http:// in upstream",
	} {
		p := panels.GuardedAt(t, upstream)
		gate.Store(p.At)
		p.AddAccount(t, "bob")
		a := panels.Navigate(panels.Visit(t, p, "bob", panels.Radio+"/"), panels.Radio+"/")
		if a.Status != http.StatusBadGateway || !strings.Contains(a.Body, "radio.example isn’t responding") || !strings.Contains(p.Logs.String(), want) {
			t.Errorf("%s: %s, want 502 and a line in the log with %q\n%s", upstream, portal.Summary(a), want, p.Logs)
		}
	}
}

func TestAnswerWithinLimitsHowLongAPanelMayTake(t *testing.T) {
	t.Parallel()
	ends := make(chan struct{})
	t.Cleanup(func() { close(ends) })
	p := panels.Guarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ends:
		case <-r.Context().Done():
		}
	}), "    answer_within: 1s", "    rules: [{path: /open/, require: nothing}]")
	if a := p.Browser(t).Get(panels.Radio + "/open/"); a.Status != http.StatusGatewayTimeout {
		t.Errorf("a panel that doesn't answer within a second: %s, want 504", portal.Summary(a))
	}
}

// A user who works only over a WebSocket sends no other requests. By default the session
// then counts as idle; websockets: use makes its data count.
func TestWebSocketDataExtendsASessionOnlyIfConfigured(t *testing.T) {
	t.Parallel()
	for setting, signedIn := range map[string]bool{"": false, "    websockets: idle": false, "    websockets: use": true} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			p := panels.Guarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "" {
					panels.ServeEcho(w, r)
				}
			}), "session: {idle: 1h}", setting)
			p.AddAccount(t, "ada")
			ada := panels.Visit(t, p, "ada", panels.Radio+"/")
			conn, reader := dialWebSocket(t, p, ada, "/echo")
			testkit.Check(t, conn.SetDeadline(time.Now().Add(3*portal.StreamTime)))
			// The sessions' clock moves past half of the idle time, twice. After each move data
			// flows until the gateway has checked the stream's visit.
			for range 2 {
				p.Clock.Move(40 * time.Minute)
				for end := time.Now().Add(2 * portal.StreamTime / 5); time.Now().Before(end); {
					if _, err := fmt.Fprint(conn, "on\n"); err != nil {
						break
					}
					if line, err := reader.ReadString('\n'); err != nil || line != "on\n" {
						break
					}
				}
				testkit.Check(t, p.Entry.WriteUses(t.Context()))
			}
			if a := ada.Get(panels.Radio + "/"); (a.Status == http.StatusOK) != signedIn {
				t.Errorf("after 80 minutes with only WebSocket data: %s, want still signed in: %v", portal.Summary(a), signedIn)
			}
		})
	}
}
