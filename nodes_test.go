package sallyport_test

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

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
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
	*lane    // of whoever comes through HAProxy
	nodes    []*node
	database string
}

type node struct {
	*program
	*process
	name string
}

// startCluster starts the nodes on a database with so many owners, and with a
// panel that asks for a session.
func startCluster(t *testing.T, owners int) *cluster {
	t.Helper()
	path := buildProgram(t)
	c := &cluster{}
	for i := range 3 {
		// An address of their own: on 127.0.0.1 another connection could take
		// the port of a node that is away.
		free, err := net.Listen("tcp", "127.0.0.3:0")
		check(t, err)
		free.Close()
		c.nodes = append(c.nodes, &node{name: fmt.Sprint("node", i+1),
			program: &program{t: t, path: path, dir: t.TempDir(), base: "http://" + free.Addr().String()}})
	}
	at := startListener(t, c.haproxy(t))
	c.database = testkit.DatabaseURL(t, "postgres")
	config := writeConfig(t, "panels:\n  - url: "+radio+"\n    upstream: "+startPanel(t, "radio").URL+"\n")
	settings := []string{"SALLYPORT_DATABASE=" + c.database, "SALLYPORT_PUBLIC_URL=http://" + at, "SALLYPORT_CONFIG=" + config, clusterDrain}
	c.lane = &lane{program: &program{t: t, path: path, dir: c.nodes[0].dir, base: "http://" + at}, rng: rand.New(rand.NewPCG(1, 2)), exact: true}
	c.addOwners(t, owners, settings...)
	c.copyRing()
	for _, one := range c.nodes {
		one.env = settings
		t.Cleanup(func() { // after its end
			if t.Failed() {
				t.Logf("%s: %s", one.name, one.output())
			}
		})
		one.process = one.background("serve")
	}
	for _, one := range c.nodes {
		one.await(one.process)
		c.awaitTurn(one)
	}
	return c
}

// copyRing gives every node the first one's key ring.
func (c *cluster) copyRing() {
	c.t.Helper()
	ring, err := os.ReadFile(filepath.Join(c.nodes[0].dir, "keyring"))
	check(c.t, err)
	for _, one := range c.nodes[1:] {
		path := filepath.Join(one.dir, "keyring")
		check(c.t, os.WriteFile(path+".new", ring, 0o600))
		check(c.t, os.Rename(path+".new", path))
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
			text += "    server " + one.name + " " + strings.TrimPrefix(one.base, "http://") + "\n"
		}
		writeFile(t, filepath.Join(dir, "haproxy.cfg"), text)
		return exec.Command("haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	}
}

// awaitTurn waits until HAProxy hands a node requests.
func (c *cluster) awaitTurn(one *node) {
	c.t.Helper()
	testkit.Until(c.t, "requests to "+one.name, func() bool {
		resp, err := http.Get(c.base + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.Header.Get(nodeHeader) == one.name
	})
}

// restart stops a node as its service manager does, and starts it again.
func (c *cluster) restart(one *node) {
	c.t.Helper()
	check(c.t, one.cmd.Process.Signal(syscall.SIGTERM))
	if err := one.wait(); err != nil {
		c.t.Errorf("%s: %v\n%s", one.name, err, one.output())
	}
	one.process = one.background("serve")
	one.await(one.process)
	c.awaitTurn(one)
}

// ATTACKS 148. One node after the other restarts.
func TestAttack148RollingRestart(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterOwners)
	stays := c.signedInOnEachNode()
	c.unnoticed(func() {
		for _, one := range c.nodes {
			c.restart(one)
		}
	})
	if a, err := stays.send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
		t.Errorf("who was signed in before: %s, %v", short(a), err)
	}
}

// ATTACKS 117. The keys change on all nodes meanwhile.
func TestAttack117RotationOnThreeNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, clusterOwners)
	first := c.nodes[0]
	c.unnoticed(func() {
		first.command("key", "add")
		c.copyRing()
		first.command("key", "rotate")
		c.copyRing()
		first.command("key", "rotate", "--drop")
		c.copyRing()
	})
	for _, one := range c.nodes {
		one.command("key", "check")
		one.command("audit", "verify")
	}
	if ring, err := os.ReadFile(filepath.Join(first.dir, "keyring")); err != nil || strings.Count(string(ring), "\nkey ") != 1 {
		t.Errorf("the old key is still there, or %v", err)
	}
}

// unnoticed has people enrol, sign in with codes and backup codes, and make new
// ones while something happens, and fails the test where they notice.
func (c *cluster) unnoticed(happen func()) {
	c.t.Helper()
	var clients sync.WaitGroup
	for range clientsPerLane {
		clients.Go(func() {
			if err := c.use(); err != nil {
				c.t.Errorf("somebody noticed: %v", err)
			}
		})
	}
	happen()
	if c.next.Swap(clusterOwners) >= clusterOwners {
		c.t.Error("all owners had their turn before it was over; give it more of them")
	}
	clients.Wait()
	if c.answers.Load() == 0 {
		c.t.Error("nobody got further than enrolment")
	}
	c.t.Logf("%d things were done", c.answers.Load())
}

// signedInOnEachNode signs the first owner in over several nodes, and shows
// a page from each of them.
func (c *cluster) signedInOnEachNode() *visitor {
	c.t.Helper()
	o, v, seen := c.owners[c.next.Add(1)-1], c.visitor(), map[string]bool{}
	for _, step := range []struct {
		method, path string
		fields       []string
	}{
		{http.MethodGet, "/login", nil},
		{http.MethodPost, "/login", []string{"username", o.name, "password", portal.Password}},
		{http.MethodGet, "/login/code", nil},
		{http.MethodPost, "/login/backup-code", []string{"backup_code", o.unused[0]}},
		{http.MethodGet, "/", nil}, {http.MethodGet, "/settings/security", nil}, {http.MethodGet, "/settings/sessions", nil},
	} {
		a, err := v.send(step.method, step.path, step.fields...)
		if err != nil || a.Status >= 400 || strings.HasPrefix(a.Location, "/login?") {
			c.t.Fatalf("%s: %s, %v", step.path, short(a), err)
		}
		seen[a.Header.Get(nodeHeader)] = true
	}
	if len(seen) < 2 {
		c.t.Errorf("one sign-in was answered by %v, want several nodes", seen)
	}
	// HAProxy's turns are uneven while its servers have only just come up.
	testkit.Until(c.t, "a page from every node", func() bool {
		a, err := v.send(http.MethodGet, "/")
		if err != nil || a.Status != http.StatusOK {
			c.t.Fatalf("signed in, and then: %s, %v", short(a), err)
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
	p := &program{t: t, path: buildProgram(t), dir: t.TempDir(), env: []string{"SALLYPORT_DRAIN=1m"}}
	server := p.serve()
	check(t, server.cmd.Process.Signal(syscall.SIGTERM))
	v := newVisitor(t, p.base, "10.0.0.1")
	testkit.Until(t, "/readyz", func() bool {
		a, err := v.send(http.MethodGet, "/readyz")
		return err == nil && a.Status == http.StatusServiceUnavailable && strings.HasSuffix(a.Body, "server: draining\n")
	})
	resp, err := http.Get(p.base + "/login")
	check(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("while it drains: %d, and the connection is kept %v", resp.StatusCode, !resp.Close)
	}
	begin := time.Now()
	check(t, server.cmd.Process.Signal(syscall.SIGTERM))
	if err := server.wait(); err == nil || time.Since(begin) > startTime {
		t.Errorf("told twice, it ended with %v after %v", err, time.Since(begin))
	}
}
