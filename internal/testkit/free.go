package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
)

// The range of ports to choose from. It is below 32768, where Linux begins to choose
// the ports of outgoing connections: such a connection could take the port before the
// caller binds it.
const firstPort, portsCount = 20_000, 12_000

// reserved are the sockets that keep each port of [FreePort] for this process.
var reserved struct {
	sync.Mutex
	sockets []net.Listener
}

// FreePort returns a port of 127.0.0.1 at which no process listens. No later call returns
// the same port, in this process or in another one, until this process ends. Without that,
// two HAProxys could get one port, and since HAProxy sets SO_REUSEPORT, both would listen.
func FreePort() (string, error) {
	for {
		port := fmt.Sprint(firstPort + rand.IntN(portsCount))
		// An abstract socket of Linux has a name that one process at a time can have.
		socket, err := net.Listen("unix", "@sallyport-test-port-"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", err
		}
		reserved.Lock()
		reserved.sockets = append(reserved.sockets, socket)
		reserved.Unlock()
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			return port, listener.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
}

// FreeAddress returns an address on loopback, host and port, with a port of [FreePort].
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
