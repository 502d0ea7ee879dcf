package nodes

// Three nodes behind a real HAProxy that sends each request to the next node. The nodes run the
// built program on one PostgreSQL database.

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
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
	// clusterDrain is much longer than HAProxy takes to notice that a node drains.
	clusterDrain = "SALLYPORT_DRAIN=2s"

	// clusterOwners is more owners than the clients get through while three nodes restart.
	clusterOwners = 100
)

// cluster is three nodes behind an HAProxy that sends each request to the next node.
type cluster struct {
	*sallyport.Workload // the clients, which connect to HAProxy
	nodes               []*sallyport.Node
	database            string
}

// startCluster starts the nodes on a database with this number of owners, and with a panel that
// requires a session.
func startCluster(t *testing.T, owners int) *cluster {
	t.Helper()
	path := sallyport.BuildProgram(t)
	c := &cluster{}
	for i := range 3 {
		// Nodes don't listen at 127.0.0.1: there another connection could take the port of
		// a node that restarts.
		free, err := net.Listen("tcp", "127.0.0.3:0")
		testkit.Check(t, err)
		free.Close()
		c.nodes = append(c.nodes, &sallyport.Node{Name: fmt.Sprint("node", i+1),
			Program: &sallyport.Program{T: t, Path: path, Dir: t.TempDir(), Base: "http://" + free.Addr().String()}})
	}
	at := proxies.StartBalancer(t, c.nodes)
	c.database = testkit.DatabaseURL(t, "postgres")
	config := panels.WriteConfig(t, "panels:\n  - url: "+panels.Radio+"\n    upstream: "+panels.StartPanel(t, "radio").URL+"\n")
	settings := []string{"SALLYPORT_DATABASE=" + c.database, "SALLYPORT_PUBLIC_URL=http://" + at, "SALLYPORT_CONFIG=" + config, clusterDrain}
	c.Workload = &sallyport.Workload{Program: &sallyport.Program{T: t, Path: path, Dir: c.nodes[0].Dir, Base: "http://" + at}, Rng: rand.New(rand.NewPCG(1, 2)), Exact: true}
	c.AddOwners(t, owners, settings...)
	c.copyRing()
	for _, one := range c.nodes {
		one.Env = settings
		t.Cleanup(func() { // runs after the process has ended
			if t.Failed() {
				t.Logf("%s: %s", one.Name, one.Output())
			}
		})
		one.Process = one.Background("serve")
	}
	for _, one := range c.nodes {
		one.Await(one.Process)
		proxies.AwaitRequests(t, c.Base, one)
	}
	return c
}

// copyRing copies the first node's key ring to all other nodes.
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

// restart stops a node as its service manager does, starts it again, and waits until HAProxy
// uses it.
func (c *cluster) restart(one *sallyport.Node) {
	c.T.Helper()
	testkit.Check(c.T, one.Cmd.Process.Signal(syscall.SIGTERM))
	if err := one.Wait(); err != nil {
		c.T.Errorf("stop %s: %v\n%s", one.Name, err, one.Output())
	}
	one.Process = one.Background("serve")
	one.Await(one.Process)
	proxies.AwaitRequests(c.T, c.Base, one)
}

// TestAttack148RollingRestart restarts one node after the other while clients use the cluster.
func TestAttack148RollingRestart(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterOwners)
	stays := c.signedInOnEachNode()
	c.useWhile(func() {
		for _, one := range c.nodes {
			c.restart(one)
		}
	})
	if a, err := stays.Send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
		t.Errorf("start page in a session from before the restarts: %s, %v; want 200", portal.Summary(a), err)
	}
}

// TestAttack117RotationOnThreeNodes rotates the keys of all nodes while clients use the cluster.
func TestAttack117RotationOnThreeNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterOwners)
	first := c.nodes[0]
	c.useWhile(func() {
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
		t.Errorf("after the rotation, the key ring can't be read (error %v), or doesn't have exactly one key", err)
	}
}

// useWhile lets clients enroll, sign in with codes and backup codes, and create new codes while
// change runs. It fails the test if a client gets an unexpected answer.
func (c *cluster) useWhile(change func()) {
	c.T.Helper()
	var clients sync.WaitGroup
	for range sallyport.ClientsPerWorkload {
		clients.Go(func() {
			if err := c.RunClient(); err != nil {
				c.T.Errorf("a client got an unexpected answer: %v", err)
			}
		})
	}
	change()
	if c.Next.Swap(clusterOwners) >= clusterOwners {
		c.T.Error("the clients got through all owners before the change was done; increase clusterOwners")
	}
	clients.Wait()
	if c.Answers.Load() == 0 {
		c.T.Error("no owner did anything after the enrolment")
	}
	c.T.Logf("%d requests were answered after enrolments", c.Answers.Load())
}

// signedInOnEachNode signs the next owner in by requests to several nodes, and gets a page from
// each node.
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
			c.T.Fatalf("%s %s: %s, %v; want the next step", step.method, step.path, portal.Summary(a), err)
		}
		seen[a.Header.Get(proxies.NodeHeader)] = true
	}
	if len(seen) < 2 {
		c.T.Errorf("the requests of one sign-in were answered by %v, want several nodes", seen)
	}
	// HAProxy doesn't distribute requests evenly right after its servers have come up.
	testkit.Until(c.T, "a page from every node", func() bool {
		a, err := v.Send(http.MethodGet, "/")
		if err != nil || a.Status != http.StatusOK {
			c.T.Fatalf("start page after the sign-in: %s, %v; want 200", portal.Summary(a), err)
		}
		seen[a.Header.Get(proxies.NodeHeader)] = true
		return len(seen) == len(c.nodes)
	})
	return v
}

// TestDrain checks that a server that gets SIGTERM reports that it drains but still serves requests, and
// that a second SIGTERM stops it at once.
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
		t.Errorf("sign-in page while the server drains: %d, connection kept: %v; want 200 and a closed connection", resp.StatusCode, !resp.Close)
	}
	begin := time.Now()
	testkit.Check(t, server.Cmd.Process.Signal(syscall.SIGTERM))
	if err := server.Wait(); err == nil || time.Since(begin) > sallyport.StartTime {
		t.Errorf("after a second SIGTERM, the server ended with %v after %v, want an error at once", err, time.Since(begin))
	}
}

// portalAt returns a portal for the address of HAProxy or of a node.
func (c *cluster) portalAt(t *testing.T, address string) *portal.Portal {
	t.Helper()
	return &portal.Portal{Portal: &server.Portal{DB: testkit.Open(t, c.database)}, Base: c.Base, At: strings.TrimPrefix(address, "http://")}
}
