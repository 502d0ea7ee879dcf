package faults

// Three nodes of the built program on a PostgreSQL server with a synchronous standby, and the
// faults of all of them.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// signInsWithin is how soon after a fault, or after its repair, users must be able to sign in
	// again.
	signInsWithin = 30 * time.Second

	// strangers is the number of further accounts. They make the site so large that tries whose
	// units weren't given back don't count as an attack on the whole site. Units aren't given back
	// if the database doesn't answer.
	strangers = 20000
)

// ordeal is the nodes and their database, and the faults that they get.
type ordeal struct {
	*sallyport.Workload
	nodes            []*node
	primary, standby *testkit.Postgres
	faults           int     // number of faults so far
	next             []fault // the order of the next faults
}

// node is a node with faulty connections. The first node knows one address of the database, which
// moves to another host at a failover. The others know both hosts (see docs/nodes.md).
type node struct {
	sallyport.Node
	wires   []*testkit.Wire // connections to the database's hosts, the primary's first
	way     *http.Transport // connects to the node for every host name
	metrics string          // address of the metrics listener
}

// startOrdeal starts the database with this number of owners, its standby and the nodes.
func startOrdeal(t *testing.T, owners int, seed uint64) *ordeal {
	t.Helper()
	path := sallyport.BuildProgram(t)
	s := &ordeal{primary: testkit.NewPostgres(t)}
	config := panels.WriteConfig(t, "panels:\n  - url: "+panels.Radio+"\n    upstream: "+panels.StartPanel(t, "radio").URL+"\n")
	shared := []string{"SALLYPORT_PUBLIC_URL=" + panels.PortalAt, "SALLYPORT_CONFIG=" + config}
	s.Workload = &sallyport.Workload{Program: &sallyport.Program{T: t, Path: path, Dir: t.TempDir(), Base: panels.PortalAt}, Rng: rand.New(rand.NewPCG(seed, 0))}
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

func (s *ordeal) startNode(t *testing.T, i int, settings []string) *node {
	t.Helper()
	hosts := []*testkit.Wire{testkit.NewWire(t, s.primary.Address())}
	if i > 0 {
		hosts = append(hosts, testkit.NewWire(t, s.standby.Address()))
	}
	var at []string
	for _, wire := range hosts {
		at = append(at, wire.Address())
	}
	listen, metrics := freeAddress(t), freeAddress(t)
	n := &node{wires: hosts, metrics: metrics, way: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}).DialContext(ctx, network, listen)
		},
		MaxIdleConnsPerHost: 64,
	}}
	n.Node = sallyport.Node{Name: fmt.Sprint("node", i+1), Program: &sallyport.Program{T: t, Path: s.Path, Dir: t.TempDir(), Base: "http://" + listen}}
	n.Env = append([]string{"SALLYPORT_METRICS_LISTEN=" + metrics,
		"SALLYPORT_DATABASE=postgres://postgres@" + strings.Join(at, ",") + "/postgres?sslmode=disable"}, settings...)
	testkit.CopyFile(t, s.Dir+"/keyring", n.Dir+"/keyring")
	t.Cleanup(func() { // runs after the process has ended
		if t.Failed() {
			t.Logf("%s: %s", n.Name, n.Output())
		}
	})
	n.start()
	return n
}

// freeAddress returns an address for a node. It isn't at 127.0.0.1, where an outgoing connection
// could take the address while the node is stopped.
func freeAddress(t *testing.T) string {
	t.Helper()
	one, err := net.Listen("tcp", "127.0.0.3:0")
	testkit.Check(t, err)
	one.Close()
	return one.Addr().String()
}

func (n *node) start() {
	n.Process = n.Background("serve")
	n.Await(n.Process)
}

// setFault sets the fault of all connections between the node and the database.
func (n *node) setFault(f testkit.Fault) {
	for _, wire := range n.wires {
		wire.SetFault(f)
	}
}

// setListenFault sets the fault of the connections with which the node listens for changes.
func (n *node) setListenFault(f testkit.Fault) {
	for _, wire := range n.wires {
		wire.SetListenFault(f)
	}
}

// balancer sends each request to a random node.
type balancer struct{ *ordeal }

func (b balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.randomNode().way.RoundTrip(r)
}

// randomNode returns a random node.
func (s *ordeal) randomNode() *node { return s.nodes[s.Below(int64(len(s.nodes)))] }

// Names of faults that tests choose.
const (
	nothingHappens = "nothing"
	lostPrimary    = "a lost primary"
)

// awaitSignIns waits until owners can sign in at every node. It fails the test if that takes longer
// than signInsWithin, counted from begin.
func (s *ordeal) awaitSignIns(begin time.Time, after string) {
	s.T.Helper()
	var waiting sync.WaitGroup
	for _, n := range s.nodes {
		waiting.Go(func() {
			for {
				// Use another owner each time, since tries whose units couldn't be given back slow
				// an account down.
				_, err := s.Visitor().Through(n.way).Post(portal.LeadsTo("/"), "/login", "username", s.randomOwner().Name, "password", portal.Password)
				if err == nil {
					return
				}
				if time.Since(begin) > signInsWithin {
					s.T.Errorf("after %s: no sign-in succeeds at %s within %v: %v", after, n.Name, signInsWithin, err)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	waiting.Wait()
}

// randomOwner returns a random owner without two-factor authentication.
func (s *ordeal) randomOwner() *sallyport.Owner { return s.Owners[2*s.Below(int64(len(s.Owners)/2))+1] }

// during runs actions while a node or the database has a fault. It returns once the fault is
// repaired, the actions are done, and users can sign in.
func (s *ordeal) during(f fault, actions ...func()) {
	s.T.Helper()
	lasts := time.Duration(s.Below(int64(faultTime)))
	if s.faults++; s.faults%longFaultEvery == 0 {
		lasts = longFaultTime
	}
	n := s.randomNode()
	var doing sync.WaitGroup
	for _, one := range actions {
		pause := time.Duration(s.Below(int64(begunWithin)))
		doing.Go(func() {
			time.Sleep(pause)
			one()
		})
	}
	begin := time.Now()
	mend := f.harm(s, n)
	time.Sleep(lasts)
	if f.tolerated {
		s.awaitSignIns(begin, f.name)
	}
	mend()
	doing.Wait()
	s.awaitSignIns(time.Now(), f.name+", mended")
	s.T.Logf("%s at %s for %v; sign-ins work again after %v", f.name, n.Name, lasts, time.Since(begin))
	if s.T.Failed() {
		s.T.FailNow()
	}
}

// nextFault returns one fault after the other. Once it has returned all of them, it starts again in
// another order.
func (s *ordeal) nextFault() fault {
	if len(s.next) == 0 {
		s.next = slices.Clone(everyFault)
		for i := range s.next {
			j := i + int(s.Below(int64(len(s.next)-i)))
			s.next[i], s.next[j] = s.next[j], s.next[i]
		}
	}
	f := s.next[0]
	s.next = s.next[1:]
	return f
}

// everyConnectionWaits sends more sign-ins to a node than the node has connections. Each of them
// waits for a lock. All must be refused, and once the lock is free users must be able to sign in.
func (s *ordeal) everyConnectionWaits() {
	s.T.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.primary.URL("postgres"))
	testkit.Check(s.T, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE`)
	testkit.Check(s.T, err)
	var waiting sync.WaitGroup
	for range waitingAtOnce {
		waiting.Go(func() {
			a, err := s.Visitor().Through(s.nodes[1].way).Send(http.MethodPost, "/login", "username", s.randomOwner().Name, "password", portal.Password)
			if err != nil || a.Status != http.StatusServiceUnavailable {
				s.T.Errorf("sign-in while every connection waits for a lock: %s, %v; want 503", portal.Summary(a), err)
			}
		})
	}
	waiting.Wait()
	testkit.Check(s.T, conn.Close(ctx))
	s.awaitSignIns(time.Now(), "all connections waited for a lock")
}

// diskIsFull fills the database's disk. Sign-ins must be refused, since they couldn't be recorded,
// and must work again once there is room, without a restart.
func (s *ordeal) diskIsFull() {
	s.T.Helper()
	s.primary.Exec(s.T, fmt.Sprintf(`
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
		SELECT 'event' || i, 0, '', 'owner', 'signed_in', 'ok', '', 0, '10.1.1.1', 'Chrome on Linux' FROM generate_series(1, %d) AS i`, fullOf))
	s.primary.FillDisk(s.T)
	for _, n := range s.nodes {
		testkit.Until(s.T, "503 for the full disk by "+n.Name, func() bool {
			a, err := s.Visitor().Through(n.way).Send(http.MethodPost, "/login", "username", s.randomOwner().Name, "password", portal.Password)
			testkit.Check(s.T, err)
			return a.Status == http.StatusServiceUnavailable
		})
	}
	s.primary.MakeRoom(s.T)
	s.awaitSignIns(time.Now(), "a full disk")
}

// soak lets clients submit codes and use panels during random faults, and then checks the nodes'
// goroutines and memory.
func (s *ordeal) soak(owners []*sallyport.Owner, lasts time.Duration) {
	s.T.Helper()
	before := s.vitals()
	h, over := newHistory(), make(chan struct{})
	visits := newHistory()
	var done atomic.Int64
	var living sync.WaitGroup
	for i := range soakers {
		var mine []*sallyport.Owner
		for j := i; j < len(owners); j += soakers {
			mine = append(mine, owners[j])
		}
		living.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				s.useCodes(mine[n%len(mine)], h)
				s.visitOnce(fmt.Sprint(i, " ", n), visits)
				done.Add(1)
			}
		})
	}
	for begin := time.Now(); time.Since(begin) < lasts; {
		s.during(s.nextFault())
		time.Sleep(time.Duration(s.Below(int64(min(restsAtMost, lasts/10)))))
	}
	close(over)
	living.Wait()
	s.awaitSignIns(time.Now(), "the soak")
	for model, violated := range map[string][]string{"codes": h.violations(codeModel), "visits": visits.violations(visitModel)} {
		if len(violated) > 0 {
			s.T.Errorf("soak: outcomes that the model of %s doesn't allow: %q", model, violated)
		}
	}
	s.T.Logf("soak: %d rounds, %d submitted codes, %d requests to a panel", done.Load(), len(h.all), len(visits.all))
	if len(h.all) == 0 || len(visits.all) == 0 {
		s.T.Error("soak: no codes were submitted or no panel was used")
	}
	s.checkVitals(before)
}
