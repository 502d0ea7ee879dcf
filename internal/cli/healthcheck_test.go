package cli

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

func TestHealthcheckQueriesTheRunningServer(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := append(environFor(t, engine), "SALLYPORT_PUBLIC_URL=https://auth.example.com", "SALLYPORT_TRUSTED_PROXIES=192.0.2.1")
			if code, out, errs := call(environ, "", "healthcheck"); code != exitFailed || out != "" || !strings.Contains(errs, "doesn't answer") {
				t.Errorf("no server: exit code %d, want 1 and \"doesn't answer\", got\n%s%s", code, out, errs)
			}
			c := start(t, environ, "serve")
			c.waitFor(t, "Sallyport is at")
			port := environ[0][strings.LastIndex(environ[0], ":")+1:]
			for _, listen := range []string{strings.TrimPrefix(environ[0], "SALLYPORT_LISTEN="), "0.0.0.0:" + port, ":" + port} {
				code, out, errs := call(append(environ, "SALLYPORT_LISTEN="+listen), "", "healthcheck")
				if code != 0 || !strings.Contains(out, "key_ring: ok\n") {
					t.Errorf("%s: exit code %d, want 0, got\n%s%s", listen, code, out, errs)
				}
			}
			if code, out, errs := call(environ, "", "healthcheck", "--live"); code != 0 || out != "ok\n" {
				t.Errorf("--live: exit code %d, want 0, got\n%s%s", code, out, errs)
			}
		})
	}
}

func TestHealthcheckFailsWhileTheServerDrains(t *testing.T) {
	environ := append(environFor(t, "sqlite"), "SALLYPORT_DRAIN=10s")
	c := start(t, environ, "serve")
	c.waitFor(t, "Sallyport is at")
	if code, _, errs := call(environ, "", "healthcheck"); code != 0 {
		t.Fatalf("before it drains: exit code %d, want 0, got\n%s", code, errs)
	}
	c.stop() // it drains: /readyz answers 503, /healthz still answers 200
	for !strings.Contains(c.err.String(), "draining") {
		<-c.err.more
	}
	for {
		code, _, errs := call(environ, "", "healthcheck")
		if code == exitFailed && strings.Contains(errs, "/readyz answers 503") && strings.Contains(errs, "server: draining") {
			break
		}
		if code != 0 {
			t.Fatalf("while it drains: exit code %d, want 0, got\n%s", code, errs)
		}
	}
	if code, _, errs := call(environ, "", "healthcheck", "--live"); code != 0 {
		t.Errorf("--live: exit code %d, want 0, got\n%s", code, errs)
	}
}

// If the server terminates TLS, healthcheck uses TLS and doesn't verify the certificate.
func TestHealthcheckUsesTLS(t *testing.T) {
	_, environ := environWithCertificates(t, t.TempDir())
	c := start(t, environ, "serve")
	c.waitFor(t, "Sallyport is at https://")
	if code, out, errs := call(environ, "", "healthcheck"); code != 0 || !strings.Contains(out, "key_ring: ok\n") {
		t.Errorf("exit code %d, want 0, got\n%s%s", code, out, errs)
	}
}
