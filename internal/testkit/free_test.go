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
			t.Fatalf("port %s was returned twice, want another one", port)
		}
		seen[port] = true
		// Another process that asks for this port can't get its socket.
		if socket, err := net.Listen("unix", "@sallyport-test-port-"+port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("the socket of port %s could be opened again: %v, %v; want an error", port, socket, err)
		}
	}
}
