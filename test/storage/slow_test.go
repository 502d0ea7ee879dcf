package storage

// Slow clients. Package internal/server tests when their connections are closed.

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// idleConnections is more connections than a portal has users, but fewer than the number of files
// that a process may open.
const idleConnections = 2000

// TestAttack149IdleConnections signs in while other clients hold connections open: some before a
// request, some in the middle of one, some after an answer.
func TestAttack149IdleConnections(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	_, phone := portal.WithTwoFactor(t, p, "ada")
	for i := range idleConnections {
		conn, err := net.Dial("tcp", p.Config.Listen)
		testkit.Check(t, err)
		t.Cleanup(func() { conn.Close() })
		switch i % 3 {
		case 0:
			_, err = fmt.Fprintf(conn, "POST /login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nusername=", p.Config.Listen)
			testkit.Check(t, err)
		case 1:
			_, err = fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", p.Config.Listen)
			testkit.Check(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			testkit.Check(t, err)
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("connection %d: healthz answers %d, want 200", i, resp.StatusCode)
			}
		}
	}
	b := portal.PendingSignIn(t, p, "ada")
	b.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, b, "with so many idle connections", true)
}
