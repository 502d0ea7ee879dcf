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
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
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
	// units couldn't be given back, since the database didn't answer, don't count as an attack
	// on the whole site.
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

// freeAddress returns an address that no outgoing connection can take, as one at 127.0.0.1 could
// while a node is stopped.
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

// fault is a fault and its repair.
type fault struct {
	name      string
	tolerated bool // users can sign in before the repair
	deaf      bool // the node serves, but isn't notified of changes
	harm      func(s *ordeal, n *node) (mend func())
}

// onWires returns a fault of a node's connections to the database.
func onWires(name string, f testkit.Fault) fault {
	return fault{name: name, harm: func(_ *ordeal, n *node) func() {
		n.setFault(f)
		return func() { n.setFault(testkit.Whole) }
	}}
}

// onListening returns a fault of the connections with which a node listens for changes.
func onListening(name string, f testkit.Fault) fault {
	return fault{name: name, deaf: true, harm: func(_ *ordeal, n *node) func() {
		n.setListenFault(f)
		return func() { n.setListenFault(testkit.Whole) }
	}}
}

// Names of faults that tests choose.
const (
	nothingHappens = "nothing"
	lostPrimary    = "a lost primary"
)

// faultNamed returns the fault with this name.
func faultNamed(name string) fault {
	return everyFault[slices.IndexFunc(everyFault, func(f fault) bool { return f.name == name })]
}

// everyFault lists the faults of nodes and of their database.
var everyFault = []fault{
	{name: nothingHappens, tolerated: true, harm: func(*ordeal, *node) func() { return func() {} }},
	onWires("a node cut off", testkit.Cut),
	onWires("a node that nothing reaches", testkit.Held),
	onWires("a slow network", testkit.Slow),
	onWires("answers to commits lost", testkit.Forgetful),
	onWires("commits on their way", testkit.Interrupted),
	onListening("a listener cut", testkit.Cut),
	onListening("a deaf listener", testkit.Held),
	{name: "a frozen node", harm: func(_ *ordeal, n *node) func() {
		n.Cmd.Process.Signal(syscall.SIGSTOP)
		return func() { n.Cmd.Process.Signal(syscall.SIGCONT) }
	}},
	{name: "a killed node", harm: func(_ *ordeal, n *node) func() {
		n.Kill()
		return n.start
	}},
	{name: "a frozen database", harm: func(s *ordeal, _ *node) func() {
		s.primary.Freeze()
		return s.primary.Thaw
	}},
	{name: "a killed database", harm: func(s *ordeal, _ *node) func() {
		s.primary.Kill()
		return func() { s.primary.Restart(s.T) }
	}},
	{name: "a frozen standby", harm: func(s *ordeal, _ *node) func() {
		s.standby.Freeze()
		return s.standby.Thaw
	}},
	{name: lostPrimary, tolerated: true, harm: func(s *ordeal, _ *node) func() {
		old := s.primary
		old.Kill()
		return s.failOver(old)
	}},
	{name: "a primary that vanished", tolerated: true, harm: func(s *ordeal, _ *node) func() {
		old := s.primary
		old.Freeze()
		return s.failOver(old)
	}},
}

// failOver makes the standby the primary, as an operator's tools do. The repair starts another
// standby.
func (s *ordeal) failOver(old *testkit.Postgres) (mend func()) {
	s.primary = s.standby
	s.primary.Promote(s.T)
	s.nodes[0].wires[0].MoveTo(s.primary.Address())
	return func() {
		old.Kill()
		s.standby = s.primary.Standby(s.T)
		for _, n := range s.nodes[1:] {
			n.wires[0].MoveTo(s.standby.Address())
			n.wires[0], n.wires[1] = n.wires[1], n.wires[0]
		}
	}
}

// awaitSignIns waits until owners can sign in at every node. It fails the test if that takes longer
// than signInsWithin from begin on.
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

// pendingAt returns a client that submitted an owner's password at a node and is at the code page.
func (s *ordeal) pendingAt(n *node, o *sallyport.Owner) *sallyport.Visitor {
	s.T.Helper()
	v := s.Visitor().Through(n.way)
	if _, err := v.Post(portal.LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		s.T.Fatalf("submit the password of %s at %s: %v", o.Name, n.Name, err)
	}
	return v
}

// codes submits codes to all nodes at the same time during faults. Each code must open one session,
// or none if a request got no answer.
func (s *ordeal) codes(owners []*sallyport.Owner) {
	s.T.Helper()
	count := map[string]int{}
	for len(owners) > 0 {
		f := s.nextFault()
		rounds, h := s.rounds(owners[:min(len(owners), roundsPerFault/2)]), newHistory()
		owners = owners[min(len(owners), roundsPerFault/2):]
		var all []func()
		for _, r := range rounds {
			for i, tab := range r.tabs {
				all = append(all, func() { r.outcomes[i] = h.run(r.thing(), "", func() string { return submit(tab, r.Credential) }) })
			}
		}
		s.during(f, all...)
		for _, r := range rounds {
			s.examineRound(f, r, h)
			for _, outcome := range r.outcomes {
				count[outcome]++
			}
		}
		if violated := h.violations(codeModel); len(violated) > 0 {
			s.T.Errorf("during %s, codes were accepted more than once or refused before: %q", f.name, violated)
		}
	}
	s.T.Logf("outcomes of codes that were submitted to all nodes at once: %v", count)
	if count[accepted] == 0 || count[unknown] == 0 || count[refused] == 0 {
		s.T.Errorf("outcomes of codes: %v, want some accepted, some refused and some unknown", count)
	}
}

// rounds returns a round with a code and one with a backup code for each owner.
func (s *ordeal) rounds(owners []*sallyport.Owner) (all []*round) {
	s.T.Helper()
	for _, o := range owners {
		for _, c := range []sallyport.Credential{{Code: o.CodeNow()}, {Backup: true, Code: o.Unused[0]}} {
			r := &round{owner: o, Credential: c, outcomes: make([]string, len(s.nodes))}
			for _, n := range s.nodes {
				r.tabs = append(r.tabs, s.pendingAt(n, o))
			}
			all = append(all, r)
		}
	}
	return all
}

// examineRound checks the outcomes of a round after the repair, and submits the code again.
func (s *ordeal) examineRound(f fault, r *round, h *history) {
	s.T.Helper()
	count := map[string]int{}
	for _, outcome := range r.outcomes {
		count[outcome]++
	}
	if count[accepted] > 1 || count[accepted] == 0 && count[unknown] == 0 || count[accepted]+count[unknown]+count[refused] < len(r.outcomes) {
		s.T.Errorf("during %s, code %s: outcomes %q, want one accepted, or none if one is unknown", f.name, r.thing(), r.outcomes)
	}
	for i, tab := range r.tabs {
		if r.outcomes[i] != accepted {
			continue
		}
		for _, n := range s.nodes { // the session must exist in the database that serves now
			if a, err := tab.Through(n.way).Send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
				s.T.Errorf("after %s, start page in the session of %s at %s: %s, %v; want 200", f.name, r.owner.Name, n.Name, portal.Summary(a), err)
			}
		}
	}
	for range 2 {
		tab := s.pendingAt(s.randomNode(), r.owner)
		outcome := h.run(r.thing(), "", func() string { return submit(tab, r.Credential) })
		if outcome == unknown {
			s.T.Errorf("after the repair of %s, code %s got no answer", f.name, r.thing())
		}
		count[outcome+" again"]++
	}
	if count["accepted again"] > 0 && count[accepted] > 0 || count["accepted again"] > 1 {
		s.T.Errorf("during and after %s, code %s was accepted twice: %v", f.name, r.thing(), count)
	}
}

// budgetsHold submits wrong codes to all nodes at the same time during faults. No account may have
// more of them compared than its budget allows.
func (s *ordeal) budgetsHold(owners []*sallyport.Owner) {
	s.T.Helper()
	for _, o := range owners {
		f, h := s.nextFault(), newHistory()
		wrong := sallyport.WrongCode(o.Secret)
		var all []func()
		for i := range sallyport.ConcurrentAttempts {
			tab := s.pendingAt(s.nodes[i%len(s.nodes)], o)
			all = append(all, func() { h.run(o.Name, wrongCode, func() string { return submitCode(tab, wrong) }) })
		}
		s.during(f, all...)
		for range codesADay { // use up the rest of the budget
			tab := s.pendingAt(s.randomNode(), o)
			h.run(o.Name, wrongCode, func() string { return submitCode(tab, wrong) })
		}
		tab := s.pendingAt(s.randomNode(), o)
		h.run(o.Name, rightCode, func() string { return submitCode(tab, o.CodeNow()) })
		if len(h.violations(budgetModel)) > 0 {
			s.T.Errorf("during %s, the outcomes don't fit a budget of %d wrong codes: %+v", f.name, codesADay, h.all)
		}
	}
}

// everyConnectionWaits sends more sign-ins to a node than it has connections, while each of them
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

// useCodes submits a code and a backup code of an owner until each is refused: again after an
// unknown outcome, and once more after it was accepted.
func (s *ordeal) useCodes(o *sallyport.Owner, h *history) {
	var all []sallyport.Credential
	if o.LastStep < totp.Step(time.Now(), totp.Period) {
		all = append(all, sallyport.Credential{Code: o.CodeNow()})
	}
	if len(o.Unused) > 1 {
		all = append(all, sallyport.Credential{Backup: true, Code: o.Unused[0]})
		o.Unused = o.Unused[1:]
	}
	for _, c := range all {
		for outcome := unknown; (outcome == unknown || outcome == accepted) && len(o.Unsure) < unansweredAtMost; {
			v, err := s.EnterPassword(o)
			if err != nil {
				s.checkError(err)
				time.Sleep(askEvery)
				continue
			}
			outcome = h.run(fmt.Sprint(o.Name, " ", c.Code), "", func() string { return submit(v, c) })
			if outcome == unknown {
				o.Unsure = append(o.Unsure, c)
			}
		}
	}
}

// visitOnce opens a panel, signs out, and requests the panel's page from every node before and
// after.
func (s *ordeal) visitOnce(name string, h *history) {
	v := s.Visitor()
	if err := enterPanel(v, s.randomOwner().Name); err != nil {
		s.checkError(err)
		time.Sleep(askEvery)
		return
	}
	for _, n := range s.nodes {
		h.run(name+n.Name, use, func() string { return askNode(v, n) })
	}
	call := time.Since(h.begin)
	_, err := v.Post(signedOut, "/logout")
	end, outcome := time.Since(h.begin), accepted
	if err != nil {
		s.checkError(err)
		outcome = unknown
	}
	for _, n := range s.nodes {
		h.add(name+n.Name, signOut, outcome, call, end+endsWithin)
		h.run(name+n.Name, use, func() string { return askNode(v, n) })
	}
}

// checkError fails the test unless an error is one that a fault may cause: no answer, a server
// error, or 429 for an account whose unanswered tries count as wrong.
func (s *ordeal) checkError(err error) {
	answered, ok := err.(*sallyport.UnexpectedAnswer)
	if !sallyport.ProgramDied(err) && !(ok && (answered.Answer.Status >= http.StatusInternalServerError || answered.Answer.Status == http.StatusTooManyRequests)) {
		s.T.Errorf("soak: unexpected answer: %v", err)
	}
}

// vitals returns the figures of all nodes.
func (s *ordeal) vitals() (all []vital) {
	for _, n := range s.nodes {
		n.way.CloseIdleConnections()
		all = append(all, vital{metric(portal.Scrape(s.T, n.metrics), "go_goroutines"), metric(portal.Scrape(s.T, n.metrics), "process_resident_memory_bytes")})
	}
	return all
}

// checkVitals waits until no node has more goroutines than before, and fails the test if one has
// more memory.
func (s *ordeal) checkVitals(before []vital) {
	s.T.Helper()
	testkit.Until(s.T, "end of the goroutines of the soak", func() bool {
		for i, now := range s.vitals() {
			if now.goroutines > before[i].goroutines+goroutinesMore {
				return false
			}
		}
		return true
	})
	for i, now := range s.vitals() {
		s.T.Logf("%s has %v goroutines and bytes, had %v before the soak", s.nodes[i].Name, now, before[i])
		if now.memory > before[i].memory+memoryMore {
			s.T.Errorf("after the soak, %s has %v bytes, want at most %v more than the %v before", s.nodes[i].Name, now.memory, memoryMore, before[i].memory)
		}
	}
}

// visitsEnd signs out at the first node while another one, or the database, has a fault, and
// requests the panel's page from all nodes all the time. No node may accept the visit for longer
// than endsWithin, or endsWithinWhole if quick is set and there is no fault.
func (s *ordeal) visitsEnd(quick bool) {
	s.T.Helper()
	for _, name := range []string{nothingHappens, "a node cut off", "a node that nothing reaches", "a listener cut", "a deaf listener", "a frozen node", lostPrimary} {
		f := faultNamed(name)
		within := endsWithin
		if quick && f.name == nothingHappens {
			within = endsWithinWhole
		}
		v := s.Visitor()
		if err := enterPanel(v, s.randomOwner().Name); err != nil {
			s.T.Fatal(err)
		}
		for _, n := range s.nodes { // afterwards the node has the visit in its cache
			if outcome := askNode(v, n); outcome != accepted {
				s.T.Fatalf("visit at %s before the sign-out: %s, want %s", n.Name, outcome, accepted)
			}
		}
		h, over := newHistory(), make(chan struct{})
		var asking sync.WaitGroup
		for _, n := range s.nodes {
			asking.Go(func() {
				for {
					h.run(n.Name, use, func() string { return askNode(v, n) })
					select {
					case <-over:
						return
					case <-time.After(askEvery):
					}
				}
			})
		}
		begin, n := time.Now(), s.nodes[1+s.Below(2)]
		mend := f.harm(s, n)
		if f.tolerated {
			s.awaitSignIns(begin, f.name)
		}
		call := time.Since(h.begin)
		if _, err := v.Through(s.nodes[0].way).Post(signedOut, "/logout"); err != nil {
			s.T.Errorf("sign-out during %s: %v", f.name, err)
		}
		end := time.Since(h.begin)
		for _, n := range s.nodes {
			h.add(n.Name, signOut, accepted, call, end+within)
		}
		spared := n
		if f.deaf {
			spared = nil // without notifications the node reads every session again, so it refuses too
		}
		s.allRefuse(v, spared)
		mend()
		s.awaitSignIns(time.Now(), f.name+", mended")
		s.allRefuse(v, nil)
		close(over)
		asking.Wait()
		if violated := h.violations(visitModel); len(violated) > 0 {
			s.T.Errorf("during %s at %s, these nodes accepted a visit for longer than %v after the sign-out: %v", f.name, n.Name, within, violated)
		}
	}
}

// allRefuse waits until every node except spared refuses a visit.
func (s *ordeal) allRefuse(v *sallyport.Visitor, spared *node) {
	s.T.Helper()
	for _, n := range s.nodes {
		testkit.Until(s.T, "refusal by "+n.Name, func() bool { return n == spared || askNode(v, n) == refused })
	}
}

// entriesHaveSessions lets clients open a panel while the primary is lost. A client that got the
// panel's page must have a visit in the database that serves now, and nodes must accept only such
// visits.
func (s *ordeal) entriesHaveSessions() {
	s.T.Helper()
	visitors, entered := make([]*sallyport.Visitor, entering), make([]error, entering)
	var all []func()
	for i := range entering {
		visitors[i] = s.Visitor()
		all = append(all, func() { entered[i] = enterPanel(visitors[i], s.randomOwner().Name) })
	}
	s.during(faultNamed(lostPrimary), all...)
	d := testkit.Open(s.T, s.primary.URL("postgres"))
	for i, v := range visitors {
		rows, token := 0, v.CookieAt(panels.Radio, "sallyport-visit")
		testkit.Check(s.T, db.One(context.Background(), d.Reader(), `
			SELECT COUNT(*) FROM visits JOIN sessions ON sessions.id = session_id WHERE visits.token_hash = $1`, []any{secret.Hash(token)}, &rows))
		want := refused
		if rows == 1 {
			want = accepted
		}
		if entered[i] == nil && rows == 0 {
			s.T.Error("a client got the panel's page, but the new primary doesn't have its visit")
		}
		for _, n := range s.nodes {
			if outcome := askNode(v, n); outcome != want {
				s.T.Errorf("visit with %d rows in the database at %s: %s, want %s", rows, n.Name, outcome, want)
			}
		}
	}
}
