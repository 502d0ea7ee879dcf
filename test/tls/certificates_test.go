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

// TestRenewedCertificatesLeaveConnectionsOpen: by a signal and without one.
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
		goesOn := func(when string) {
			resp := sendLines(t, open, reader, "GET /x HTTP/1.1", "Host: radio.example")
			io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s the open connection gets %s", when, resp.Status)
			}
		}
		first := serial()
		testkit.Check(t, s.WatchCertificates(t.Context()))
		if serial() != first {
			t.Error("a certificate that didn't change is another")
		}
		s.ca.Issue(s.dir, "radio", "radio.example")
		if serial() != first {
			t.Error("a certificate is read for each connection")
		}
		testkit.Check(t, s.WatchCertificates(t.Context()))
		second := serial()
		if second == first {
			t.Error("a renewed certificate isn't noticed")
		}
		goesOn("after the renewal")
		s.ca.Issue(s.dir, "radio", "radio.example")
		testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
		if serial() == second {
			t.Error("a reload doesn't read certificates")
		}
		goesOn("after the reload")
	})
}

// TestFaultyCertificatesLeaveThePreviousOnesInUse (F10).
func TestFaultyCertificatesLeaveThePreviousOnesInUse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		harm func(t *testing.T, s *tlsPortal)
		want string // in the log
	}{
		"another's key":  {func(t *testing.T, s *tlsPortal) { testkit.MoveFile(t, s.dir+"/own.key", s.dir+"/radio.key") }, "don't belong together"},
		"no key":         {func(t *testing.T, s *tlsPortal) { testkit.Check(t, os.Remove(s.dir+"/radio.key")) }, "radio.key: no such file"},
		"half a file":    {func(t *testing.T, s *tlsPortal) { testkit.Check(t, os.Truncate(s.dir+"/radio.pem", 100)) }, "don't belong together"},
		"a key for all":  {func(t *testing.T, s *tlsPortal) { testkit.Check(t, os.Chmod(s.dir+"/radio.key", 0o644)) }, "run: chmod 600"},
		"another's name": {func(t *testing.T, s *tlsPortal) { s.ca.Issue(s.dir, "radio", "other.example") }, "no certificate is for radio.example"},
		"an expired one": {func(t *testing.T, s *tlsPortal) {
			s.ca.IssueFor(s.dir, "radio", testkit.Start.AddDate(-1, 0, 0), testkit.Start.AddDate(0, 0, -1), "radio.example")
		}, "the certificate of radio.example expired on 2026-11-22"},
		"one of tomorrow": {func(t *testing.T, s *tlsPortal) {
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
					t.Fatalf("faulty at the start: %s", gauge())
				}
				test.harm(t, s)
				testkit.Check(t, s.WatchCertificates(t.Context()))
				if _, err := s.dial(t, "radio.example"); err != nil {
					t.Errorf("the certificate of before isn't in force: %v", err)
				}
				b := s.Browser(t)
				if a := b.Get("/readyz"); a.Status != http.StatusOK || !strings.Contains(a.Body, "\ncertificates: faulty; the previous ones are in use\n") {
					t.Errorf("readyz: %d %s", a.Status, a.Body)
				}
				if gauge() != "1" || !strings.Contains(s.Logs.String(), test.want) {
					t.Errorf("metric %s; the log doesn't say %q:\n%s", gauge(), test.want, s.Logs)
				}
				if err := s.Reload(config.Load(s.file, s.environ())); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("a reload: %v", err)
				}
				if a := b.Get("/readyz"); !strings.Contains(a.Body, "\nconfiguration: faulty") {
					t.Errorf("readyz after the reload: %s", a.Body)
				}
				s.ca.Issue(s.dir, "own", "auth.test", "video.test")
				s.ca.Issue(s.dir, "radio", "radio.example")
				testkit.Check(t, s.WatchCertificates(t.Context()))
				testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
				if a := b.Get("/readyz"); gauge() != "0" || strings.Contains(a.Body, "certificates") || strings.Contains(a.Body, "configuration") {
					t.Errorf("once mended: metric %s\n%s", gauge(), a.Body)
				}
			})
		})
	}
}

// TestExpiryIsReportedTwoWeeksBefore in the log, by /readyz and by a metric.
func TestExpiryIsReportedTwoWeeksBefore(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		end := testkit.Start.AddDate(0, 0, 20)
		s.ca.IssueFor(s.dir, "radio", testkit.Start.AddDate(-1, 0, 0), end, "radio.example")
		look := func(move time.Duration) (ready string, warnings int) {
			s.Clock.Move(move)
			testkit.Check(t, s.WatchCertificates(t.Context()))
			return s.Browser(t).Get("/readyz").Body, strings.Count(s.Logs.String(), "a certificate expires soon")
		}
		const day = 24 * time.Hour
		if ready, n := look(6*day - time.Second); n != 0 || strings.Contains(ready, "certificates") {
			t.Errorf("more than 14 days before: %d warnings, %s", n, ready)
		}
		if want := fmt.Sprintf("\nsallyport_certificate_end_timestamp_seconds %g\n", float64(end.Unix())); !strings.Contains(portal.Scrape(t, s.Config.MetricsListen), want) {
			t.Errorf("no %q", want)
		}
		if ready, n := look(2 * time.Second); n != 1 || !strings.Contains(ready, "\ncertificates: one expires soon\n") {
			t.Errorf("14 days before: %d warnings, %s", n, ready)
		}
		if _, n := look(time.Hour); n != 1 {
			t.Errorf("%d warnings within a day", n)
		}
		if _, n := look(day); n != 2 {
			t.Errorf("%d warnings on the second day", n)
		}
		if ready, _ := look(14 * day); !strings.Contains(ready, "\ncertificates: one has expired or isn't valid yet\n") {
			t.Errorf("after its end: %s", ready)
		}
	})
}

// TestReloadAppliesToEveryListener: a panel that comes or goes does so in the
// handshake, behind it, and where http is led to https.
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
				t.Errorf("before, %s: handshake %v, redirect %v", host, handshake, redirect)
			}
		}
		testkit.Check(t, os.WriteFile(s.file, []byte(strings.ReplaceAll(string(text), secureRadio, "https://new.test")), 0o600))
		testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
		for host, want := range map[string]bool{"radio.example": false, "new.test": true} {
			if handshake, redirect := served(host); handshake != want || redirect != want {
				t.Errorf("after, %s: handshake %v, redirect %v", host, handshake, redirect)
			}
		}
		if a := s.Browser(t).Get("https://new.test/x"); a.Status != http.StatusUnauthorized {
			t.Errorf("the new panel: %d", a.Status)
		}
		// What waits for the next start changes nothing, and the log says so.
		testkit.Check(t, os.WriteFile(s.file, []byte("public_url: "+secureAt+"\ntls: {acme: {accept_terms: true}}\n"), 0o600))
		testkit.Check(t, s.Reload(config.Load(s.file, s.environ())))
		if handshake, _ := served("auth.test"); !handshake || !strings.Contains(s.Logs.String(), "take effect only at a start") {
			t.Error("a CA instead of files is taken up by a reload, or nobody is told that it isn't")
		}
	})
}
