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

// The range of ports from which [FreePort] chooses. It is below 32768, from where Linux takes
// the ports of outgoing connections: such a connection could take a port before the caller of
// FreePort binds it.
const firstPort, portsCount = 20_000, 12_000

// reserved has a socket for each port that [FreePort] returned. It keeps the port for this process.
var reserved struct {
	sync.Mutex
	sockets []net.Listener
}

// FreePort returns a port of 127.0.0.1 at which no process listens. Until this process ends, no
// later call returns the same port, in this process or in another one. Otherwise two HAProxys
// could get the same port, and both would listen at it, since HAProxy sets SO_REUSEPORT.
func FreePort() (string, error) {
	for {
		port := fmt.Sprint(firstPort + rand.IntN(portsCount))
		// Only one process at a time can have a Linux abstract socket with this name.
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

// FreeAddress returns the host 127.0.0.1 with a port of [FreePort].
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
