package portal

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
)

// The names of the cookies of a portal without TLS.
const (
	SessionCookie = "sallyport"
	AttemptCookie = "sallyport-attempt"
	DeviceCookie  = "sallyport-device" // marks a known browser
)

// BehindProxy is a setting that lets a test choose the client address of a request by
// X-Forwarded-For.
const BehindProxy = "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32"

// OnBothEngines runs a test on a portal of each engine.
func OnBothEngines(t *testing.T, test func(t *testing.T, p *Portal), settings ...string) {
	t.Helper()
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, Start(t, engine, settings...))
		})
	}
}

// StartNodes starts n nodes on one PostgreSQL database with one key ring. Each has its own
// clock, which starts at [testkit.Start].
func StartNodes(t *testing.T, n int, settings ...string) []*Portal {
	t.Helper()
	nodes := []*Portal{Start(t, "postgres", settings...)}
	shared := nodes[0].Config
	settings = append(settings, "SALLYPORT_DATABASE="+shared.Database.Reveal(), "SALLYPORT_DATA_DIR="+shared.DataDir)
	for len(nodes) < n {
		nodes = append(nodes, Start(t, "postgres", settings...))
	}
	return nodes
}

// MoveAll moves the clock of every node.
func MoveAll(nodes []*Portal, d time.Duration) {
	for _, p := range nodes {
		p.Clock.Move(d)
	}
}

// NetworkAddress returns an address in the n-th IPv4 /24 network.
func NetworkAddress(n int) string { return fmt.Sprintf("10.%d.%d.%d", n/250, n%250, 1+n%200) }

// FromNetwork gives the browser the client address [NetworkAddress](n) and returns the browser.
// The portal must be [BehindProxy].
func FromNetwork(b *Browser, n int) *Browser {
	b.Header.Set("X-Forwarded-For", NetworkAddress(n))
	return b
}

// OpenFiles opens a portal on the data directory dir, without a listener. A test can close it, change
// the files in dir and open it again.
func OpenFiles(t *testing.T, dir string) (*server.Portal, error) {
	t.Helper()
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + dir})
	testkit.Check(t, err)
	p, err := server.Open(context.Background(), cfg, testkit.NewClock().Now, slog.New(slog.DiscardHandler))
	if err == nil {
		p.Login.Passwords = testkit.Quick
		t.Cleanup(func() { p.Close() })
	}
	return p, err
}

// NoConfig keeps a command from reading the configuration of a portal on this machine.
const NoConfig = "SALLYPORT_CONFIG=/dev/null"
