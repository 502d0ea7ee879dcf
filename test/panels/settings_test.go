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

// upstream names the proxy in front of Sallyport, or a server that speaks no TLS. The page is that
// of a panel that is down, and the log says what to write.
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
