package nodes

// Many nodes: any request to any of them. They are the built program on one
// PostgreSQL, behind a real HAProxy.

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// clusterDrain is many times as long as HAProxy takes to notice.
	clusterDrain = "SALLYPORT_DRAIN=2s"

	// nodeHeader is where HAProxy says which node answered.
	nodeHeader = "X-Node"

	// clusterOwners are more than get their turn while three nodes restart.
	clusterOwners = 100
)

// cluster is three nodes behind an HAProxy that hands each request to the next.
type cluster struct {
	*sallyport.Lane // of whoever comes through HAProxy
	nodes           []*sallyport.Node
	database        string
}

// startCluster starts the nodes on a database with so many owners, and with a
// panel that asks for a session.
func startCluster(t *testing.T, owners int) *cluster {
	t.Helper()
	path := sallyport.BuildProgram(t)
	c := &cluster{}
	for i := range 3 {
		// An address of their own: on 127.0.0.1 another connection could take
		// the port of a node that is away.
		free, err := net.Listen("tcp", "127.0.0.3:0")
		testkit.Check(t, err)
		free.Close()
		c.nodes = append(c.nodes, &sallyport.Node{Name: fmt.Sprint("node", i+1),
			Program: &sallyport.Program{T: t, Path: path, Dir: t.TempDir(), Base: "http://" + free.Addr().String()}})
	}
	at := proxies.StartListener(t, c.haproxy(t))
	c.database = testkit.DatabaseURL(t, "postgres")
	config := panels.WriteConfig(t, "panels:\n  - url: "+panels.Radio+"\n    upstream: "+panels.StartPanel(t, "radio").URL+"\n")
	settings := []string{"SALLYPORT_DATABASE=" + c.database, "SALLYPORT_PUBLIC_URL=http://" + at, "SALLYPORT_CONFIG=" + config, clusterDrain}
	c.Lane = &sallyport.Lane{Program: &sallyport.Program{T: t, Path: path, Dir: c.nodes[0].Dir, Base: "http://" + at}, Rng: rand.New(rand.NewPCG(1, 2)), Exact: true}
	c.AddOwners(t, owners, settings...)
	c.copyRing()
	for _, one := range c.nodes {
		one.Env = settings
		t.Cleanup(func() { // after its end
			if t.Failed() {
				t.Logf("%s: %s", one.Name, one.Output())
			}
		})
		one.Process = one.Background("serve")
	}
	for _, one := range c.nodes {
		one.Await(one.Process)
		c.awaitTurn(one)
	}
	return c
}

// copyRing gives every node the first one's key ring.
func (c *cluster) copyRing() {
	c.T.Helper()
	ring, err := os.ReadFile(filepath.Join(c.nodes[0].Dir, "keyring"))
	testkit.Check(c.T, err)
	for _, one := range c.nodes[1:] {
		path := filepath.Join(one.Dir, "keyring")
		testkit.Check(c.T, os.WriteFile(path+".new", ring, 0o600))
		testkit.Check(c.T, os.Rename(path+".new", path))
	}
}

// haproxy has no second try for anybody, so what a node doesn't answer is seen.
func (c *cluster) haproxy(t *testing.T) func(dir, at string) *exec.Cmd {
	return func(dir, at string) *exec.Cmd {
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
`, at, nodeHeader)
		for _, one := range c.nodes {
			text += "    server " + one.Name + " " + strings.TrimPrefix(one.Base, "http://") + "\n"
		}
		testkit.WriteFile(t, filepath.Join(dir, "haproxy.cfg"), text)
		return exec.Command("haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	}
}

// awaitTurn waits until HAProxy hands a node requests.
func (c *cluster) awaitTurn(one *sallyport.Node) {
	c.T.Helper()
	testkit.Until(c.T, "requests to "+one.Name, func() bool {
		resp, err := http.Get(c.Base + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.Header.Get(nodeHeader) == one.Name
	})
}

// restart stops a node as its service manager does, and starts it again.
func (c *cluster) restart(one *sallyport.Node) {
	c.T.Helper()
	testkit.Check(c.T, one.Cmd.Process.Signal(syscall.SIGTERM))
	if err := one.Wait(); err != nil {
		c.T.Errorf("%s: %v\n%s", one.Name, err, one.Output())
	}
	one.Process = one.Background("serve")
	one.Await(one.Process)
	c.awaitTurn(one)
}

// Attack 148. One node after the other restarts.
func TestAttack148RollingRestart(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterOwners)
	stays := c.signedInOnEachNode()
	c.unnoticed(func() {
		for _, one := range c.nodes {
			c.restart(one)
		}
	})
	if a, err := stays.Send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
		t.Errorf("who was signed in before: %s, %v", portal.Summary(a), err)
	}
}

// Attack 117. The keys change on all nodes meanwhile.
func TestAttack117RotationOnThreeNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterOwners)
	first := c.nodes[0]
	c.unnoticed(func() {
		first.Command("key", "add")
		c.copyRing()
		first.Command("key", "rotate")
		c.copyRing()
		first.Command("key", "rotate", "--drop")
		c.copyRing()
	})
	for _, one := range c.nodes {
		one.Command("key", "check")
		one.Command("audit", "verify")
	}
	if ring, err := os.ReadFile(filepath.Join(first.Dir, "keyring")); err != nil || strings.Count(string(ring), "\nkey ") != 1 {
		t.Errorf("the old key is still there, or %v", err)
	}
}

// unnoticed has people enrol, sign in with codes and backup codes, and make new
// ones while something happens, and fails the test where they notice.
func (c *cluster) unnoticed(happen func()) {
	c.T.Helper()
	var clients sync.WaitGroup
	for range sallyport.ClientsPerLane {
		clients.Go(func() {
			if err := c.Use(); err != nil {
				c.T.Errorf("somebody noticed: %v", err)
			}
		})
	}
	happen()
	if c.Next.Swap(clusterOwners) >= clusterOwners {
		c.T.Error("all owners had their turn before it was over; give it more of them")
	}
	clients.Wait()
	if c.Answers.Load() == 0 {
		c.T.Error("nobody got further than enrolment")
	}
	c.T.Logf("%d things were done", c.Answers.Load())
}

// signedInOnEachNode signs the first owner in over several nodes, and shows
// a page from each of them.
func (c *cluster) signedInOnEachNode() *sallyport.Visitor {
	c.T.Helper()
	o, v, seen := c.Owners[c.Next.Add(1)-1], c.Visitor(), map[string]bool{}
	for _, step := range []struct {
		method, path string
		fields       []string
	}{
		{http.MethodGet, "/login", nil},
		{http.MethodPost, "/login", []string{"username", o.Name, "password", portal.Password}},
		{http.MethodGet, "/login/code", nil},
		{http.MethodPost, "/login/backup-code", []string{"backup_code", o.Unused[0]}},
		{http.MethodGet, "/", nil}, {http.MethodGet, "/settings/security", nil}, {http.MethodGet, "/settings/sessions", nil},
	} {
		a, err := v.Send(step.method, step.path, step.fields...)
		if err != nil || a.Status >= 400 || strings.HasPrefix(a.Location, "/login?") {
			c.T.Fatalf("%s: %s, %v", step.path, portal.Summary(a), err)
		}
		seen[a.Header.Get(nodeHeader)] = true
	}
	if len(seen) < 2 {
		c.T.Errorf("one sign-in was answered by %v, want several nodes", seen)
	}
	// HAProxy's turns are uneven while its servers have only just come up.
	testkit.Until(c.T, "a page from every node", func() bool {
		a, err := v.Send(http.MethodGet, "/")
		if err != nil || a.Status != http.StatusOK {
			c.T.Fatalf("signed in, and then: %s, %v", portal.Summary(a), err)
		}
		seen[a.Header.Get(nodeHeader)] = true
		return len(seen) == len(c.nodes)
	})
	return v
}

// A server that was told to stop says so first, and answers as before; told
// twice, it ends at once.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := &sallyport.Program{T: t, Path: sallyport.BuildProgram(t), Dir: t.TempDir(), Env: []string{"SALLYPORT_DRAIN=1m"}}
	server := p.Serve()
	testkit.Check(t, server.Cmd.Process.Signal(syscall.SIGTERM))
	v := sallyport.NewVisitor(t, p.Base, "10.0.0.1")
	testkit.Until(t, "/readyz", func() bool {
		a, err := v.Send(http.MethodGet, "/readyz")
		return err == nil && a.Status == http.StatusServiceUnavailable && strings.HasSuffix(a.Body, "server: draining\n")
	})
	resp, err := http.Get(p.Base + "/login")
	testkit.Check(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("while it drains: %d, and the connection is kept %v", resp.StatusCode, !resp.Close)
	}
	begin := time.Now()
	testkit.Check(t, server.Cmd.Process.Signal(syscall.SIGTERM))
	if err := server.Wait(); err == nil || time.Since(begin) > sallyport.StartTime {
		t.Errorf("told twice, it ended with %v after %v", err, time.Since(begin))
	}
}

// at is the portal as it answers at an address: HAProxy's, or a node's own.
func (c *cluster) at(t *testing.T, address string) *portal.Portal {
	t.Helper()
	return &portal.Portal{Portal: &server.Portal{DB: testkit.Open(t, c.database)}, Base: c.Base, At: strings.TrimPrefix(address, "http://")}
}
