package testkit

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestFreePortIsReserved(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %s was returned twice", port)
		}
		seen[port] = true
		// Do as another process would:
		if socket, err := net.Listen("unix", "@sallyport-test-port-"+port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("port %s isn't reserved: %v, %v", port, socket, err)
		}
	}
}
