package faults

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
	// goesOnWithin is the promise: whatever was lost, people sign in again.
	goesOnWithin = 30 * time.Second

	// strangers are accounts that make the site so big that tries which nobody
	// could give back, since the database was away, don't count as an attack on
	// all of it.
	strangers = 20000
)

// ordeal is nodes and their database, under faults.
type ordeal struct {
	*sallyport.Workload
	nodes            []*harmed
	primary, standby *testkit.Postgres
	faults           int     // so far
	turn             []fault // those to come
}

// harmed is a node. The first knows one address of the database, which moves, and
// the others both hosts, as docs/nodes.md says.
type harmed struct {
	sallyport.Node
	wires   []*testkit.Wire // to the database's hosts, the primary's first
	way     *http.Transport // to the node, whatever a host is called
	metrics string
}

// startOrdeal starts everything, with so many owners.
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
	n.Node = sallyport.Node{Name: fmt.Sprint("node", i+1), Program: &sallyport.Program{T: t, Path: s.Path, Dir: t.TempDir(), Base: "http://" + listen}}
	n.Env = append([]string{"SALLYPORT_METRICS_LISTEN=" + metrics,
		"SALLYPORT_DATABASE=postgres://postgres@" + strings.Join(at, ",") + "/postgres?sslmode=disable"}, settings...)
	testkit.CopyFile(t, s.Dir+"/keyring", n.Dir+"/keyring")
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
	testkit.Check(t, err)
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
				_, err := s.Visitor().Through(n.way).Post(portal.LeadsTo("/"), "/login", "username", s.anybody().Name, "password", portal.Password)
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
func (s *ordeal) anybody() *sallyport.Owner { return s.Owners[2*s.Below(int64(len(s.Owners)/2))+1] }

// during has something happen to a node while others do something, which begins
// within a moment, and returns once it is mended, they are done, and people sign in.
func (s *ordeal) during(f fault, all ...func()) {
	s.T.Helper()
	lasts := time.Duration(s.Below(int64(harmedFor)))
	if s.faults++; s.faults%longHarm == 0 {
		lasts = harmedForLong
	}
	n := s.any()
	var doing sync.WaitGroup
	for _, one := range all {
		pause := time.Duration(s.Below(int64(begunWithin)))
		doing.Go(func() {
			time.Sleep(pause)
			one()
		})
	}
	begin := time.Now()
	mend := f.harm(s, n)
	time.Sleep(lasts)
	if f.goesOn {
		s.goesOn(begin, f.name)
	}
	mend()
	doing.Wait()
	s.goesOn(time.Now(), f.name+", mended")
	s.T.Logf("%s at %s for %v; all was well after %v", f.name, n.Name, lasts, time.Since(begin))
	if s.T.Failed() {
		s.T.FailNow()
	}
}

// nextFault returns every fault in turn, each turn in another order.
func (s *ordeal) nextFault() fault {
	if len(s.turn) == 0 {
		s.turn = slices.Clone(everyFault)
		for i := range s.turn {
			j := i + int(s.Below(int64(len(s.turn)-i)))
			s.turn[i], s.turn[j] = s.turn[j], s.turn[i]
		}
	}
	f := s.turn[0]
	s.turn = s.turn[1:]
	return f
}

// waiting returns somebody at a node who gave the password, for which a code is
// asked.
func (s *ordeal) waiting(n *harmed, o *sallyport.Owner) *sallyport.Visitor {
	s.T.Helper()
	v := s.Visitor().Through(n.way)
	if _, err := v.Post(portal.LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		s.T.Fatalf("%s at %s: %v", o.Name, n.Name, err)
	}
	return v
}

// codes has codes given to all nodes at once while something happens to them. Each
// opens one session, or none where somebody had no answer.
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
				all = append(all, func() { r.said[i] = h.did(r.thing(), "", func() string { return give(tab, r.Credential) }) })
			}
		}
		s.during(f, all...)
		for _, r := range rounds {
			s.examineRound(f, r, h)
			for _, said := range r.said {
				count[said]++
			}
		}
		if wrong := h.wrong(once); len(wrong) > 0 {
			s.T.Errorf("%s: that can't be of a code that opens once: %q", f.name, wrong)
		}
	}
	s.T.Logf("codes given to all nodes at once, and what came of each try: %v", count)
	if count[accepted] == 0 || count[unknown] == 0 || count[refused] == 0 {
		s.T.Errorf("of all tries: %v; want some of each", count)
	}
}

// rounds are one with a code and one with a backup code of each owner.
func (s *ordeal) rounds(owners []*sallyport.Owner) (all []*round) {
	s.T.Helper()
	for _, o := range owners {
		for _, c := range []sallyport.Credential{{Code: o.CodeNow()}, {Backup: true, Code: o.Unused[0]}} {
			r := &round{owner: o, Credential: c, said: make([]string, len(s.nodes))}
			for _, n := range s.nodes {
				r.tabs = append(r.tabs, s.waiting(n, o))
			}
			all = append(all, r)
		}
	}
	return all
}

// examineRound gives the code again, once all is well.
func (s *ordeal) examineRound(f fault, r *round, h *history) {
	s.T.Helper()
	count := map[string]int{}
	for _, said := range r.said {
		count[said]++
	}
	if count[accepted] > 1 || count[accepted] == 0 && count[unknown] == 0 || count[accepted]+count[unknown]+count[refused] < len(r.said) {
		s.T.Errorf("%s: %s: %q, want one session, or none where somebody had no answer", f.name, r.thing(), r.said)
	}
	for i, tab := range r.tabs {
		if r.said[i] != accepted {
			continue
		}
		for _, n := range s.nodes { // what was answered is so, whichever database serves now
			if a, err := tab.Through(n.way).Send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
				s.T.Errorf("%s: %s is signed in, and at %s: %s, %v", f.name, r.owner.Name, n.Name, portal.Summary(a), err)
			}
		}
	}
	for range 2 {
		tab := s.waiting(s.any(), r.owner)
		said := h.did(r.thing(), "", func() string { return give(tab, r.Credential) })
		if said == unknown {
			s.T.Errorf("%s: all is well, and %s is unanswered", f.name, r.thing())
		}
		count[said+" again"]++
	}
	if count["accepted again"] > 0 && count[accepted] > 0 || count["accepted again"] > 1 {
		s.T.Errorf("%s: %s opens twice: %v", f.name, r.thing(), count)
	}
}

// budgetsHold has wrong codes given to all nodes at once while something happens.
func (s *ordeal) budgetsHold(owners []*sallyport.Owner) {
	s.T.Helper()
	for _, o := range owners {
		f, h := s.nextFault(), newHistory()
		wrong := sallyport.WrongCode(o.Secret)
		var all []func()
		for i := range sallyport.ConcurrentAttempts {
			tab := s.waiting(s.nodes[i%len(s.nodes)], o)
			all = append(all, func() { h.did(o.Name, aWrongOne, func() string { return tryAt(tab, wrong) }) })
		}
		s.during(f, all...)
		for range codesADay { // one after the other, until none is left
			tab := s.waiting(s.any(), o)
			h.did(o.Name, aWrongOne, func() string { return tryAt(tab, wrong) })
		}
		tab := s.waiting(s.any(), o)
		h.did(o.Name, aRightOne, func() string { return tryAt(tab, o.CodeNow()) })
		if len(h.wrong(budget)) > 0 {
			s.T.Errorf("%s: that can't be of a budget of %d: %+v", f.name, codesADay, h.all)
		}
	}
}

// everyConnectionWaits has more people sign in at a node than it has connections,
// each of which waits for a lock. They are refused, and soon after it is given up all
// is well.
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
			a, err := s.Visitor().Through(s.nodes[1].way).Send(http.MethodPost, "/login", "username", s.anybody().Name, "password", portal.Password)
			if err != nil || a.Status != http.StatusServiceUnavailable {
				s.T.Errorf("while every connection waits: %s, %v", portal.Summary(a), err)
			}
		})
	}
	waiting.Wait()
	testkit.Check(s.T, conn.Close(ctx))
	s.goesOn(time.Now(), "every connection waited")
}

// diskIsFull fills the database's disk. Nobody signs in who would leave no trace, and
// once there is room all goes on by itself.
func (s *ordeal) diskIsFull() {
	s.T.Helper()
	s.primary.Exec(s.T, fmt.Sprintf(`
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
		SELECT 'event' || i, 0, '', 'owner', 'signed_in', 'ok', '', 0, '10.1.1.1', 'Chrome on Linux' FROM generate_series(1, %d) AS i`, fullOf))
	s.primary.FillDisk(s.T)
	for _, n := range s.nodes {
		testkit.Until(s.T, "a full disk at "+n.Name, func() bool {
			a, err := s.Visitor().Through(n.way).Send(http.MethodPost, "/login", "username", s.anybody().Name, "password", portal.Password)
			testkit.Check(s.T, err)
			return a.Status == http.StatusServiceUnavailable
		})
	}
	s.primary.MakeRoom(s.T)
	s.goesOn(time.Now(), "a full disk")
}

// soak has people do everything while anything happens, and then looks at what the
// nodes have become.
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
				s.liveOn(mine[n%len(mine)], h)
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
	s.goesOn(time.Now(), "the soak")
	for thing, wrong := range map[string][]string{"a code that opens once": h.wrong(once), "a visit that ends": visits.wrong(visited)} {
		if len(wrong) > 0 {
			s.T.Errorf("soak: that can't be of %s: %q", thing, wrong)
		}
	}
	s.T.Logf("soak: %d rounds of everything, %d codes were given, %d times a panel was asked for", done.Load(), len(h.all), len(visits.all))
	if len(h.all) == 0 || len(visits.all) == 0 {
		s.T.Error("soak: nothing was done")
	}
	s.wellAgain(before)
}

// liveOn gives a code and a backup code of an owner; whatever wasn't answered is given
// again, and what was accepted is refused.
func (s *ordeal) liveOn(o *sallyport.Owner, h *history) {
	var all []sallyport.Credential
	if o.LastStep < totp.Step(time.Now()) {
		all = append(all, sallyport.Credential{Code: o.CodeNow()})
	}
	if len(o.Unused) > 1 {
		all = append(all, sallyport.Credential{Backup: true, Code: o.Unused[0]})
		o.Unused = o.Unused[1:]
	}
	for _, c := range all {
		for said := unknown; (said == unknown || said == accepted) && len(o.Unsure) < unansweredAtMost; {
			v, err := s.EnterPassword(o)
			if err != nil {
				s.excuse(err)
				time.Sleep(askEvery)
				continue
			}
			said = h.did(fmt.Sprint(o.Name, " ", c.Code), "", func() string { return give(v, c) })
			if said == unknown {
				o.Unsure = append(o.Unsure, c)
			}
		}
	}
}

// visitOnce enters a panel, signs out, and asks until that is known.
func (s *ordeal) visitOnce(name string, h *history) {
	v := s.Visitor()
	if err := enterPanel(v, s.anybody().Name); err != nil {
		s.excuse(err)
		time.Sleep(askEvery)
		return
	}
	for _, n := range s.nodes {
		h.did(name+n.Name, aVisit, func() string { return askNode(v, n) })
	}
	call := time.Since(h.begin)
	_, err := v.Post(signedOut, "/logout")
	end, outcome := time.Since(h.begin), accepted
	if err != nil {
		s.excuse(err)
		outcome = unknown
	}
	for _, n := range s.nodes {
		h.add(name+n.Name, theEnd, outcome, call, end+endsWithin)
		h.did(name+n.Name, aVisit, func() string { return askNode(v, n) })
	}
}

// excuse fails the test where an error isn't that of a node or database in trouble,
// or of an account whose tries count as wrong, since it had no answer.
func (s *ordeal) excuse(err error) {
	answered, ok := err.(*sallyport.UnexpectedAnswer)
	if !sallyport.ProgramDied(err) && !(ok && (answered.Answer.Status >= http.StatusInternalServerError || answered.Answer.Status == http.StatusTooManyRequests)) {
		s.T.Errorf("soak: %v", err)
	}
}

func (s *ordeal) vitals() (all []vital) {
	for _, n := range s.nodes {
		n.way.CloseIdleConnections()
		all = append(all, vital{reading(portal.Scrape(s.T, n.metrics), "go_goroutines"), reading(portal.Scrape(s.T, n.metrics), "process_resident_memory_bytes")})
	}
	return all
}

// wellAgain waits until no node has become more than it was.
func (s *ordeal) wellAgain(before []vital) {
	s.T.Helper()
	testkit.Until(s.T, "the end of what the soak began", func() bool {
		for i, now := range s.vitals() {
			if now.goroutines > before[i].goroutines+goroutinesMore {
				return false
			}
		}
		return true
	})
	for i, now := range s.vitals() {
		s.T.Logf("%s: %v, and before: %v", s.nodes[i].Name, now, before[i])
		if now.memory > before[i].memory+memoryMore {
			s.T.Errorf("%s has %v bytes, and had %v", s.nodes[i].Name, now.memory, before[i].memory)
		}
	}
}

// visitsEnd signs out at the first node while something happens to another, and asks
// all of them all the time.
func (s *ordeal) visitsEnd(quick bool) {
	s.T.Helper()
	for _, name := range []string{nothingHappens, "a node cut off", "a node that nothing reaches", "a listener cut", "a deaf listener", "a frozen node", lostPrimary} {
		f := faultCalled(name)
		within := endsWithin
		if quick && f.name == nothingHappens {
			within = endsWithinWhole
		}
		v := s.Visitor()
		if err := enterPanel(v, s.anybody().Name); err != nil {
			s.T.Fatal(err)
		}
		for _, n := range s.nodes { // they remember it now
			if said := askNode(v, n); said != accepted {
				s.T.Fatalf("%s: a visit is %s", n.Name, said)
			}
		}
		h, over := newHistory(), make(chan struct{})
		var asking sync.WaitGroup
		for _, n := range s.nodes {
			asking.Go(func() {
				for {
					h.did(n.Name, aVisit, func() string { return askNode(v, n) })
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
		if f.goesOn {
			s.goesOn(begin, f.name)
		}
		call := time.Since(h.begin)
		if _, err := v.Through(s.nodes[0].way).Post(signedOut, "/logout"); err != nil {
			s.T.Errorf("%s: sign-out: %v", f.name, err)
		}
		end := time.Since(h.begin)
		for _, n := range s.nodes {
			h.add(n.Name, theEnd, accepted, call, end+within)
		}
		spared := n
		if f.deaf {
			spared = nil // it refuses by itself, though nobody told it
		}
		s.allRefuse(v, spared)
		mend()
		s.goesOn(time.Now(), f.name+", mended")
		s.allRefuse(v, nil)
		close(over)
		asking.Wait()
		if wrong := h.wrong(visited); len(wrong) > 0 {
			s.T.Errorf("%s at %s: a visit that ended was one for longer than %v at %v", f.name, n.Name, within, wrong)
		}
	}
}

// allRefuse waits until every node refuses a visit, but for the one that is spared.
func (s *ordeal) allRefuse(v *sallyport.Visitor, spared *harmed) {
	s.T.Helper()
	for _, n := range s.nodes {
		testkit.Until(s.T, "refusal by "+n.Name, func() bool { return n == spared || askNode(v, n) == refused })
	}
}

// doorsHaveSessions has people enter a panel while the primary is lost. Whoever was
// let in has a session in the database that serves now, and nobody else is let in.
func (s *ordeal) doorsHaveSessions() {
	s.T.Helper()
	visitors, entered := make([]*sallyport.Visitor, entering), make([]error, entering)
	var all []func()
	for i := range entering {
		visitors[i] = s.Visitor()
		all = append(all, func() { entered[i] = enterPanel(visitors[i], s.anybody().Name) })
	}
	s.during(faultCalled(lostPrimary), all...)
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
			s.T.Error("somebody was let in, of whom the new primary doesn't know")
		}
		for _, n := range s.nodes {
			if said := askNode(v, n); said != want {
				s.T.Errorf("with %d visits in the database one is %s at %s", rows, said, n.Name)
			}
		}
	}
}
