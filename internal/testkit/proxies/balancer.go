package proxies

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// NodeHeader is the header in which [StartBalancer]'s HAProxy names the node that answered.
const NodeHeader = "X-Node"

// StartBalancer starts HAProxy in front of nodes and returns HAProxy's address. HAProxy sends
// each request to the next node whose /readyz answers 200. It never repeats a request, so that
// the client notices if a node doesn't answer. It asks for /readyz ten times a second, so it
// notices a drain long before two seconds have passed.
func StartBalancer(t *testing.T, nodes []*sallyport.Node) (at string) {
	t.Helper()
	return StartListener(t, func(dir, at string) *exec.Cmd {
		text := fmt.Sprintf(`defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 5s
    retries 0
frontend all
    bind %s
    default_backend sallyport
backend sallyport
    balance roundrobin
    option httpchk GET /readyz
    option forwardfor
    http-response set-header %s %%s
    default-server check inter 100ms fall 1 rise 1 source 127.0.0.1
`, at, NodeHeader)
		for _, one := range nodes {
			text += "    server " + one.Name + " " + strings.TrimPrefix(one.Base, "http://") + "\n"
		}
		testkit.WriteFile(t, filepath.Join(dir, "haproxy.cfg"), text)
		return exec.Command("haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	})
}

// AwaitRequests waits until the HAProxy at the origin base sends requests to the node.
func AwaitRequests(t *testing.T, base string, node *sallyport.Node) {
	t.Helper()
	testkit.Until(t, "requests to "+node.Name, func() bool {
		resp, err := http.Get(base + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.Header.Get(NodeHeader) == node.Name
	})
}
