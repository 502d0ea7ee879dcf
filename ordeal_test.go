package sallyport_test

// Three nodes, the built program, on a PostgreSQL with a synchronous standby, and
// what may happen to any of them.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// goesOnWithin is the promise: whatever was lost, people sign in again.
	goesOnWithin = 30 * time.Second

	// strangers are accounts that make the site so big that tries which nobody
	// could give back, since the database was away, don't count as an attack on
	// all of it.
	strangers = 20000
)

// ordeal is nodes and their database, under faults.
type ordeal struct {
	*Lane
	nodes            []*harmed
	primary, standby *testkit.Postgres
	faults           int     // so far
	turn             []fault // those to come
}

// harmed is a node. The first knows one address of the database, which moves, and
// the others both hosts, as docs/nodes.md says.
type harmed struct {
	Node
	wires   []*testkit.Wire // to the database's hosts, the primary's first
	way     *http.Transport // to the node, whatever a host is called
	metrics string
}

// startOrdeal starts everything, with so many owners.
func startOrdeal(t *testing.T, owners int, seed uint64) *ordeal {
	t.Helper()
	path := BuildProgram(t)
	s := &ordeal{primary: testkit.NewPostgres(t)}
	config := WriteConfig(t, "panels:\n  - url: "+Radio+"\n    upstream: "+StartPanel(t, "radio").URL+"\n")
	shared := []string{"SALLYPORT_PUBLIC_URL=" + PortalAt, "SALLYPORT_CONFIG=" + config}
	s.Lane = &Lane{Program: &Program{T: t, Path: path, Dir: t.TempDir(), Base: PortalAt}, Rng: rand.New(rand.NewPCG(seed, 0))}
	s.Through = func() http.RoundTripper { return balancer{s} }
	database := "SALLYPORT_DATABASE=" + s.primary.URL("postgres")
	t.Run("owners", func(t *testing.T) { s.AddOwners(t, owners, append(shared, database)...) })
	s.Env = append(shared, database)
	s.primary.Exec(t, fmt.Sprintf(`
		INSERT INTO accounts (id, name, display_name, locale, role, security_stamp, enroll_locked, created_at)
		SELECT 'stranger' || i, 'stranger' || i, '', '', 'member', '', false, 0 FROM generate_series(1, %d) AS i`, strangers))
	s.standby = s.primary.Standby(t)
	for i := range 3 {
		s.nodes = append(s.nodes, s.startNode(t, i, shared))
	}
	return s
}

func (s *ordeal) startNode(t *testing.T, i int, settings []string) *harmed {
	t.Helper()
	hosts := []*testkit.Wire{testkit.NewWire(t, s.primary.Address())}
	if i > 0 {
		hosts = append(hosts, testkit.NewWire(t, s.standby.Address()))
	}
	var at []string
	for _, wire := range hosts {
		at = append(at, wire.Address())
	}
	listen, metrics := free(t), free(t)
	n := &harmed{wires: hosts, metrics: metrics, way: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}).DialContext(ctx, network, listen)
		},
		MaxIdleConnsPerHost: 64,
	}}
	n.Node = Node{Name: fmt.Sprint("node", i+1), Program: &Program{T: t, Path: s.Path, Dir: t.TempDir(), Base: "http://" + listen}}
	n.Env = append([]string{"SALLYPORT_METRICS_LISTEN=" + metrics,
		"SALLYPORT_DATABASE=postgres://postgres@" + strings.Join(at, ",") + "/postgres?sslmode=disable"}, settings...)
	CopyFile(t, s.Dir+"/keyring", n.Dir+"/keyring")
	t.Cleanup(func() { // after its end
		if t.Failed() {
			t.Logf("%s: %s", n.Name, n.Output())
		}
	})
	n.start()
	return n
}

// free is an address that nobody else binds; see [startCluster].
func free(t *testing.T) string {
	t.Helper()
	one, err := net.Listen("tcp", "127.0.0.3:0")
	Check(t, err)
	one.Close()
	return one.Addr().String()
}

func (n *harmed) start() {
	n.Process = n.Background("serve")
	n.Await(n.Process)
}

// do harms every wire of the node.
func (n *harmed) do(h testkit.Harm) {
	for _, wire := range n.wires {
		wire.Do(h)
	}
}

func (n *harmed) doToWatching(h testkit.Harm) {
	for _, wire := range n.wires {
		wire.DoToWatching(h)
	}
}

// balancer hands each request to another node.
type balancer struct{ *ordeal }

func (b balancer) RoundTrip(r *http.Request) (*http.Response, error) { return b.any().way.RoundTrip(r) }

// any is a node.
func (s *ordeal) any() *harmed { return s.nodes[s.Below(int64(len(s.nodes)))] }

// fault is something that happens, and how it is mended.
type fault struct {
	name   string
	goesOn bool // before it is mended
	forAll bool // it isn't one node's
	deaf   bool // the node goes on, and doesn't hear of changes
	harm   func(s *ordeal, n *harmed) (mend func())
}

// onWires is a fault of a node's way to the database.
func onWires(name string, h testkit.Harm) fault {
	return fault{name: name, harm: func(_ *ordeal, n *harmed) func() {
		n.do(h)
		return func() { n.do(testkit.Whole) }
	}}
}

func onWatching(name string, h testkit.Harm) fault {
	return fault{name: name, deaf: true, harm: func(_ *ordeal, n *harmed) func() {
		n.doToWatching(h)
		return func() { n.doToWatching(testkit.Whole) }
	}}
}

// Faults that somebody asks for.
const (
	nothingHappens = "nothing"
	lostPrimary    = "a lost primary"
)

func faultCalled(name string) fault {
	return everyFault[slices.IndexFunc(everyFault, func(f fault) bool { return f.name == name })]
}

// everyFault is what happens to nodes and to their database.
var everyFault = []fault{
	{name: nothingHappens, goesOn: true, harm: func(*ordeal, *harmed) func() { return func() {} }},
	onWires("a node cut off", testkit.Cut),
	onWires("a node that nothing reaches", testkit.Held),
	onWires("a slow network", testkit.Slow),
	onWires("answers to commits lost", testkit.Forgetful),
	onWires("commits on their way", testkit.Interrupted),
	onWatching("a listener cut", testkit.Cut),
	onWatching("a deaf listener", testkit.Held),
	{name: "a frozen node", harm: func(_ *ordeal, n *harmed) func() {
		n.Cmd.Process.Signal(syscall.SIGSTOP)
		return func() { n.Cmd.Process.Signal(syscall.SIGCONT) }
	}},
	{name: "a killed node", harm: func(_ *ordeal, n *harmed) func() {
		n.Kill()
		return n.start
	}},
	{name: "a frozen database", forAll: true, harm: func(s *ordeal, _ *harmed) func() {
		s.primary.Freeze()
		return s.primary.Thaw
	}},
	{name: "a killed database", forAll: true, harm: func(s *ordeal, _ *harmed) func() {
		s.primary.Kill()
		return func() { s.primary.Restart(s.T) }
	}},
	{name: "a frozen standby", forAll: true, harm: func(s *ordeal, _ *harmed) func() {
		s.standby.Freeze()
		return s.standby.Thaw
	}},
	{name: lostPrimary, goesOn: true, forAll: true, harm: func(s *ordeal, _ *harmed) func() {
		old := s.primary
		old.Kill()
		return s.failOver(old)
	}},
	{name: "a primary that vanished", goesOn: true, forAll: true, harm: func(s *ordeal, _ *harmed) func() {
		old := s.primary
		old.Freeze()
		return s.failOver(old)
	}},
}

// failOver makes the standby the primary, as an operator's tools do. To mend is to
// start another standby.
func (s *ordeal) failOver(old *testkit.Postgres) (mend func()) {
	s.primary = s.standby
	s.primary.Promote(s.T)
	s.nodes[0].wires[0].Turn(s.primary.Address())
	return func() {
		old.Kill()
		s.standby = s.primary.Standby(s.T)
		for _, n := range s.nodes[1:] {
			n.wires[0].Turn(s.standby.Address())
			n.wires[0], n.wires[1] = n.wires[1], n.wires[0]
		}
	}
}

// goesOn waits until somebody can sign in at every node, within what is promised
// since a fault began.
func (s *ordeal) goesOn(begin time.Time, after string) {
	s.T.Helper()
	var waiting sync.WaitGroup
	for _, n := range s.nodes {
		waiting.Go(func() {
			for {
				// Another each time: tries that nobody could give back pace an account.
				_, err := s.Visitor().Through(n.way).Post(LeadsTo("/"), "/login", "username", s.anybody().Name, "password", portal.Password)
				if err == nil {
					return
				}
				if time.Since(begin) > goesOnWithin {
					s.T.Errorf("%s: nobody signs in at %s within %v: %v", after, n.Name, goesOnWithin, err)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	waiting.Wait()
}

// anybody is an owner without two-factor authentication.
func (s *ordeal) anybody() *Owner { return s.Owners[2*s.Below(int64(len(s.Owners)/2))+1] }
