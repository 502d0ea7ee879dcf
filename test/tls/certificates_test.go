package tls

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// New connections use a renewed certificate after the periodic check and after a reload.
// Open connections aren't affected.
func TestRenewedCertificatesLeaveConnectionsOpen(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		serial := func() string {
			conn, err := s.dial(t, "radio.example")
			testkit.Check(t, err)
			return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
		}
		open, err := s.dial(t, "radio.example")
		testkit.Check(t, err)
		reader := bufio.NewReader(open)
		checkOpen := func(when string) {
			resp := sendLines(t, open, reader, "GET /x HTTP/1.1", "Host: radio.example")
			io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s a request on the open connection gets %s, want 401", when, resp.Status)
			}
		}
		first := serial()
		testkit.Check(t, s.WatchCertificates(t.Context()))
		if serial() != first {
			t.Error("a check without a new file changes the certificate")
		}
		s.ca.Issue(s.dir, "radio", "radio.example")
		if serial() != first {
			t.Error("a new file is used before a check")
		}
		testkit.Check(t, s.WatchCertificates(t.Context()))
		second := serial()
		if second == first {
			t.Error("a check doesn't use the renewed certificate")
		}
		checkOpen("after the renewal")
		s.ca.Issue(s.dir, "radio", "radio.example")
		testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
		if serial() == second {
			t.Error("a reload doesn't use the renewed certificate")
		}
		checkOpen("after the reload")
	})
}

// While the files are faulty, the server uses the previous certificates and reports the
// fault in the log, at /readyz and in a metric (F10).
func TestFaultyCertificatesLeaveThePreviousOnesInUse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(t *testing.T, s *tlsPortal)
		want  string // in the log
	}{
		"another key":                {func(t *testing.T, s *tlsPortal) { testkit.MoveFile(t, s.dir+"/own.key", s.dir+"/radio.key") }, "don't belong together"},
		"no key":                     {func(t *testing.T, s *tlsPortal) { testkit.Check(t, os.Remove(s.dir+"/radio.key")) }, "radio.key: no such file"},
		"a truncated file":           {func(t *testing.T, s *tlsPortal) { testkit.Check(t, os.Truncate(s.dir+"/radio.pem", 100)) }, "don't belong together"},
		"a key that others may read": {func(t *testing.T, s *tlsPortal) { testkit.Check(t, os.Chmod(s.dir+"/radio.key", 0o644)) }, "run: chmod 600"},
		"another name":               {func(t *testing.T, s *tlsPortal) { s.ca.Issue(s.dir, "radio", "other.example") }, "no certificate is for radio.example"},
		"an expired certificate": {func(t *testing.T, s *tlsPortal) {
			s.ca.IssueFor(s.dir, "radio", testkit.Start.AddDate(-1, 0, 0), testkit.Start.AddDate(0, 0, -1), "radio.example")
		}, "the certificate of radio.example expired on 2026-11-22"},
		"a certificate that isn't valid yet": {func(t *testing.T, s *tlsPortal) {
			s.ca.IssueFor(s.dir, "radio", testkit.Start.AddDate(0, 0, 1), testkit.Start.AddDate(1, 0, 0), "radio.example")
		}, "isn't valid before 2026-11-24"},
	} {
		t.Run(name, func(t *testing.T) {
			withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
				gauge := func() string {
					for line := range strings.Lines(portal.Scrape(t, s.Config.MetricsListen)) {
						if value, ok := strings.CutPrefix(line, "sallyport_certificates_faulty "); ok {
							return strings.TrimSpace(value)
						}
					}
					return "none"
				}
				if gauge() != "0" {
					t.Fatalf("sallyport_certificates_faulty is %s at the start, want 0", gauge())
				}
				test.spoil(t, s)
				testkit.Check(t, s.WatchCertificates(t.Context()))
				if _, err := s.dial(t, "radio.example"); err != nil {
					t.Errorf("a handshake with the previous certificate: %v, want success", err)
				}
				b := s.Browser(t)
				if a := b.Get("/readyz"); a.Status != http.StatusOK || !strings.Contains(a.Body, "\ncertificates: faulty; the previous ones are in use\n") {
					t.Errorf("/readyz: status %d, want 200 that reports faulty certificates\n%s", a.Status, a.Body)
				}
				if gauge() != "1" || !strings.Contains(s.Logs.String(), test.want) {
					t.Errorf("sallyport_certificates_faulty is %s, want 1, with %q in the log:\n%s", gauge(), test.want, s.Logs)
				}
				if err := s.Reload(config.Load(s.file, s.environ())); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("a reload: %v, want an error with %q", err, test.want)
				}
				if a := b.Get("/readyz"); !strings.Contains(a.Body, "\nconfiguration: faulty") {
					t.Errorf("/readyz after the reload doesn't report a faulty configuration:\n%s", a.Body)
				}
				s.ca.Issue(s.dir, "own", "auth.test", "video.test")
				s.ca.Issue(s.dir, "radio", "radio.example")
				testkit.Check(t, s.WatchCertificates(t.Context()))
				testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
				if a := b.Get("/readyz"); gauge() != "0" || strings.Contains(a.Body, "certificates") || strings.Contains(a.Body, "configuration") {
					t.Errorf("after the repair sallyport_certificates_faulty is %s, want 0, and /readyz without faults:\n%s", gauge(), a.Body)
				}
			})
		})
	}
}

// The log, /readyz and a metric report a certificate's expiry 14 days before it.
func TestExpiryIsReportedTwoWeeksBefore(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		end := testkit.Start.AddDate(0, 0, 20)
		s.ca.IssueFor(s.dir, "radio", testkit.Start.AddDate(-1, 0, 0), end, "radio.example")
		checkAfter := func(move time.Duration) (ready string, warnings int) {
			s.Clock.Move(move)
			testkit.Check(t, s.WatchCertificates(t.Context()))
			return s.Browser(t).Get("/readyz").Body, strings.Count(s.Logs.String(), "a certificate expires soon")
		}
		const day = 24 * time.Hour
		if ready, n := checkAfter(6*day - time.Second); n != 0 || strings.Contains(ready, "certificates") {
			t.Errorf("more than 14 days before the expiry: %d warnings, want none, and none at /readyz:\n%s", n, ready)
		}
		if want := fmt.Sprintf("\nsallyport_certificate_end_timestamp_seconds %g\n", float64(end.Unix())); !strings.Contains(portal.Scrape(t, s.Config.MetricsListen), want) {
			t.Errorf("the metrics lack %q", want)
		}
		if ready, n := checkAfter(2 * time.Second); n != 1 || !strings.Contains(ready, "\ncertificates: one expires soon\n") {
			t.Errorf("14 days before the expiry: %d warnings, want 1, and one at /readyz:\n%s", n, ready)
		}
		if _, n := checkAfter(time.Hour); n != 1 {
			t.Errorf("%d warnings within the first day, want 1", n)
		}
		if _, n := checkAfter(day); n != 2 {
			t.Errorf("%d warnings by the second day, want 2", n)
		}
		if ready, _ := checkAfter(14 * day); !strings.Contains(ready, "\ncertificates: one has expired or isn't valid yet\n") {
			t.Errorf("after the expiry /readyz doesn't report it:\n%s", ready)
		}
	})
}

// A reload adds and removes panels for TLS handshakes, for requests and for redirects from
// http.
func TestReloadAppliesToEveryListener(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		served := func(host string) (handshake, redirect bool) {
			_, err := s.dial(t, host)
			conn, dialed := net.Dial("tcp", s.Config.RedirectListen)
			testkit.Check(t, dialed)
			defer conn.Close()
			resp := sendLines(t, conn, bufio.NewReader(conn), "GET /x HTTP/1.1", "Host: "+host)
			return err == nil, resp.StatusCode == http.StatusPermanentRedirect
		}
		text, err := os.ReadFile(s.file)
		testkit.Check(t, err)
		for host, want := range map[string]bool{"radio.example": true, "new.test": false} {
			if handshake, redirect := served(host); handshake != want || redirect != want {
				t.Errorf("%s before the reload: handshake %v, redirect %v, want %v", host, handshake, redirect, want)
			}
		}
		testkit.Check(t, os.WriteFile(s.file, []byte(strings.ReplaceAll(string(text), secureRadio, "https://new.test")), 0o600))
		testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
		for host, want := range map[string]bool{"radio.example": false, "new.test": true} {
			if handshake, redirect := served(host); handshake != want || redirect != want {
				t.Errorf("%s after the reload: handshake %v, redirect %v, want %v", host, handshake, redirect, want)
			}
		}
		if a := s.Browser(t).Get("https://new.test/x"); a.Status != http.StatusUnauthorized {
			t.Errorf("a request to the new panel: status %d, want 401", a.Status)
		}
		// Settings that need a restart have no effect, and the log says so.
		testkit.Check(t, os.WriteFile(s.file, []byte("public_url: "+secureAt+"\ntls: {acme: {accept_terms: true}}\n"), 0o600))
		testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
		if handshake, _ := served("auth.test"); !handshake || !strings.Contains(s.Logs.String(), "take effect only at a start") {
			t.Error("a reload replaced the certificate files by ACME, or the log doesn't say that this needs a restart")
		}
	})
}
