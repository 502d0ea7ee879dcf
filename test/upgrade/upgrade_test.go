package upgrade

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// TestAttack148UpgradeAndWayBack replaces the previous release's program by this tree's while
// clients use the portal, and then this tree's by the previous release's, as an operator may do
// after an upgrade. No request fails, no session ends, each code is accepted once, and both
// programs verify the audit log.
func TestAttack148UpgradeAndWayBack(t *testing.T) {
	t.Parallel()
	old := buildPrevious(t)
	this := release{sallyport.BuildProgram(t), countMigrations(t, testkit.Path("."))}
	t.Run("three nodes on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		upgradeNodes(t, old, this)
	})
	t.Run("one server on SQLite", func(t *testing.T) {
		t.Parallel()
		upgradeServer(t, old, this)
	})
}

// settings returns the environment of a portal with the panels radio and video, of which
// another proxy serves the second one.
func settings(t *testing.T) []string {
	t.Helper()
	return []string{"SALLYPORT_CONFIG=" + panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
panels:
  - url: %s
    upstream: %s
  - url: %s
    require: two_factor
`, panels.PortalAt, panels.Radio, panels.StartPanel(t, "radio").URL, panels.Video))}
}

// transportTo returns a transport that connects to an address, whatever the request's host.
func transportTo(t *testing.T, address string) *http.Transport {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// newNode returns a node of the release that isn't started.
func newNode(t *testing.T, name string, from release) *sallyport.Node {
	t.Helper()
	return &sallyport.Node{Name: name, Program: &sallyport.Program{T: t, Path: from.path, Dir: t.TempDir(), Base: "http://" + testkit.FreeAddress(t)}}
}

// start starts a node and waits until it answers. The process's log is printed if the test
// fails.
func start(one *sallyport.Node) {
	one.T.Helper()
	var process *sallyport.Process
	one.T.Cleanup(func() { // runs after the process has ended
		if one.T.Failed() && process != nil {
			one.T.Logf("%s: %s", one.Name, process.Output())
		}
	})
	process = one.Background("serve")
	one.Process = process
	one.Await(process)
}

// replace stops a node as its service manager does and starts another release in its place.
func replace(one *sallyport.Node, by release) {
	one.T.Helper()
	stop(one)
	one.Path = by.path
	start(one)
}

// stop stops a node. It fails the test if that took too long or the node logged an error.
func stop(one *sallyport.Node) {
	one.T.Helper()
	testkit.Check(one.T, one.Cmd.Process.Signal(syscall.SIGTERM))
	if err := one.Wait(); err != nil {
		one.T.Errorf("stop %s: %v\n%s", one.Name, err, one.Output())
	}
	for line := range strings.Lines(one.Output()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			one.T.Errorf("%s logged an error: %s", one.Name, line)
		}
	}
}

// verifyAudit verifies the audit log with the programs of both releases.
func verifyAudit(one *sallyport.Node, releases ...release) {
	one.T.Helper()
	for _, by := range releases {
		program := *one.Program
		program.Path = by.path
		if out, err := program.Run("", "audit", "verify"); err != nil || !strings.Contains(out, "The audit log is intact") {
			one.T.Errorf("audit verify by %s: %v, want an intact log\n%s", by.path, err, out)
		}
	}
}

// upgradeNodes replaces one node after the other.
func upgradeNodes(t *testing.T, old, this release) {
	database := testkit.DatabaseURL(t, "postgres")
	env := append(settings(t), "SALLYPORT_DATABASE="+database, "SALLYPORT_DRAIN=2s")
	var nodes []*sallyport.Node
	var names []string
	for i := range 3 {
		one := newNode(t, fmt.Sprint("node", i+1), old)
		one.Env = env
		nodes, names = append(nodes, one), append(names, one.Name)
	}
	start(nodes[0]) // it makes the tables and the key ring
	for _, one := range nodes[1:] {
		testkit.CopyFile(t, filepath.Join(nodes[0].Dir, "keyring"), filepath.Join(one.Dir, "keyring"))
		start(one)
	}
	at := proxies.StartBalancer(t, nodes)
	for _, one := range nodes {
		proxies.AwaitRequests(t, "http://"+at, one)
	}

	l := newLoad(t, nodes[0].Program, transportTo(t, at))
	l.signInAll()
	stopLoad := l.run()
	for _, by := range []struct {
		release
		what string
	}{{this, "upgrade"}, {old, "way back"}} {
		for _, one := range nodes {
			l.during(by.what+" of "+one.Name, func() {
				replace(one, by.release)
				proxies.AwaitRequests(t, "http://"+at, one)
				l.setOperator(one.Program)
			}, names...)
		}
		verifyAudit(nodes[0], old, this)
	}
	stopLoad()
	l.checkAll()
	verifyAudit(nodes[0], old, this)
	portal.NothingHalfDone(t, testkit.Open(t, database))
	for _, one := range nodes {
		stop(one)
	}
}

// upgradeServer replaces a server without a second one. While it starts, clients can't connect.
func upgradeServer(t *testing.T, old, this release) {
	one := newNode(t, "server", old)
	one.Env = settings(t)
	start(one)

	transport := transportTo(t, strings.TrimPrefix(one.Base, "http://"))
	// A stopping server closes idle connections, and a client that just used one couldn't
	// tell whether the server had read its request.
	transport.DisableKeepAlives = true
	l := newLoad(t, one.Program, transport)
	l.alone = true
	l.signInAll()
	stopLoad := l.run()
	file := filepath.Join(one.Dir, "sallyport.db")
	for _, by := range []struct {
		release
		what string
	}{{this, "upgrade"}, {old, "way back"}, {this, "second upgrade"}} {
		l.during(by.what, func() {
			replace(one, by.release)
			l.setOperator(one.Program)
		})
		copies, err := filepath.Glob(fmt.Sprintf("%s.before-%d-*", file, old.version))
		testkit.Check(t, err)
		if want := min(1, this.version-old.version); len(copies) != want {
			t.Errorf("%s from schema version %d to %d: the copies before migrations are %v, want %d", by.what, old.version, this.version, copies, want)
		}
		for _, name := range copies {
			restoreCopy(one, name, old)
		}
		verifyAudit(one, old, this)
	}
	stopLoad()
	l.checkAll()
	verifyAudit(one, old, this)
	portal.NothingHalfDone(t, testkit.Open(t, "sqlite:"+file))
	stop(one)
}

// restoreCopy restores the copy from before a migration with the previous release's program, as
// docs/operating.md says, into a new data directory.
func restoreCopy(one *sallyport.Node, file string, old release) {
	one.T.Helper()
	restored := &sallyport.Node{Name: "restored server", Program: &sallyport.Program{T: one.T, Path: old.path, Dir: one.T.TempDir(), Env: one.Env}}
	testkit.CopyFile(one.T, filepath.Join(one.Dir, "keyring"), filepath.Join(restored.Dir, "keyring"))
	if _, err := restored.Run("", "restore", file); err != nil {
		one.T.Errorf("restore the copy from before the migration: %v", err)
	}
	verifyAudit(restored, old)
}
