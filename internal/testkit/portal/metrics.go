package portal

import (
	"io"
	"net"
	"net/http"
	"testing"
)

// Scrape returns the metrics that a portal serves at an address, its host and port.
func Scrape(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("scrape %s: %d, %v; want 200", address, resp.StatusCode, err)
	}
	return string(body)
}

// StartMeasured starts a portal with a metrics listener and returns the listener's address.
func StartMeasured(t *testing.T, engine string, settings ...string) (p *Portal, address string) {
	t.Helper()
	// Portals listen at 127.0.0.1. At that address, a portal of another test could get
	// this port before the metrics listener does.
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	address = listener.Addr().String()
	return Start(t, engine, append(settings, "SALLYPORT_METRICS_LISTEN="+address)...), address
}
