package server

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Forward-auth answers only trusted proxies. Without one, a panel that another proxy serves
// could never be reached.
func TestPanelWithoutUpstreamNeedsATrustedProxy(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Panels = []config.Panel{{URL: config.Origin{Scheme: "http", Host: "panel.test"}, Require: config.RequireSession}}
	p, err := Open(t.Context(), cfg, testkit.NewClock().Now, slog.New(slog.DiscardHandler))
	if err == nil {
		p.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "trusted_proxies") {
		t.Errorf("got %v; want an error that names trusted_proxies", err)
	}
}
