package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
)

// The range of ports to choose from. It is below 32768, where Linux begins to choose
// the ports of outgoing connections: such a connection could take the port before the
// caller binds it.
const firstPort, portsCount = 20_000, 12_000

// FreePort returns a port of 127.0.0.1 at which no process listens.
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

// FreeAddress returns an address on loopback, host and port, at which no process
// listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
