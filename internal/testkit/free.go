package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
)

// Ports that are given out: below 32768, from where Linux takes those of
// connections. One of these could take the port before whoever it is for does.
const firstPort, portsCount = 20_000, 12_000

// FreePort returns a port of 127.0.0.1 that nobody listens at.
func FreePort() (string, error) {
	for {
		port := fmt.Sprint(firstPort + rand.IntN(portsCount))
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			return port, listener.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
}

// FreeAddress returns an address of loopback that nobody listens at.
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
