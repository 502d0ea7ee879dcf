package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// pause is the time between two rounds of a client, and hashPause that of a client that makes
	// the server hash a password in each round. The pauses leave two cores some rest.
	pause     = 50 * time.Millisecond
	hashPause = 500 * time.Millisecond

	// retryPause is the time before a request is sent again.
	retryPause = 5 * time.Millisecond

	// faultsShown is the number of faults that a test prints.
	faultsShown = 20

	// roundOfRequests is a number of requests that most likely suffices to reach each of three
	// nodes, behind a balancer that other clients use too.
	roundOfRequests = 9

	// endsWithin is how soon after a sign-out every node refuses its visits. Without a fault it
	// takes less than a second.
	endsWithin = 5 * time.Second

	radioPage = panels.Radio + "/page"
	videoPath = "/rack"
)

// load runs the clients of one portal. As their transport it also records each server error and each
// request without an answer.
type load struct {
	*sallyport.Workload
	transport http.RoundTripper
	// alone means that the portal is one server, so that a client repeats a request that a
	// stopping server didn't handle. A client of several nodes doesn't repeat requests.
	alone    bool
	operator atomic.Pointer[sallyport.Program] // runs commands
	phase    atomic.Value                      // a string
	faults   atomic.Int64
	requests atomic.Int64
	accounts atomic.Int64
	clients  []*client
	answered sync.Map // the nodes that answered in this phase
}

// client does one thing over and over.
type client struct {
	what   string
	pause  time.Duration // between two rounds
	round  func() error
	rounds atomic.Int64
}

// newLoad returns the clients of the portal that the program operator administers. They send
// their requests through transport.
func newLoad(t *testing.T, operator *sallyport.Program, transport http.RoundTripper) *load {
	l := &load{transport: transport}
	l.Workload = &sallyport.Workload{Program: &sallyport.Program{T: t, Base: panels.PortalAt}, Rng: rand.New(rand.NewPCG(1, 2)),
		Through: func() http.RoundTripper { return l }}
	l.phase.Store("before the upgrade")
	l.setOperator(operator)
	return l
}

// setOperator makes the operator use a copy of a node's program for commands.
func (l *load) setOperator(of *sallyport.Program) {
	operator := *of
	l.operator.Store(&operator)
}

// fault fails the test.
func (l *load) fault(format string, args ...any) {
	if l.faults.Add(1) <= faultsShown {
		l.T.Errorf("%s: %s", l.phase.Load(), fmt.Sprintf(format, args...))
	}
}

// RoundTrip sends a request. It fails the test if there is no answer or the answer is a server
// error.
func (l *load) RoundTrip(r *http.Request) (*http.Response, error) {
	l.requests.Add(1)
	for begin := time.Now(); ; time.Sleep(retryPause) {
		again := r.Clone(r.Context())
		if r.GetBody != nil {
			var err error
			if again.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err := l.transport.RoundTrip(again)
		if err != nil && l.alone && wasNotHandled(err) && time.Since(begin) < sallyport.StartTime {
			continue
		}
		if err != nil {
			l.fault("%s %s got no answer: %v", r.Method, r.URL, err)
			return nil, err
		}
		node := resp.Header.Get(proxies.NodeHeader)
		l.answered.Store(node, true)
		if resp.StatusCode >= http.StatusInternalServerError {
			body, _ := io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(body))
			l.fault("%s %s: %d from %s\n%s", r.Method, r.URL, resp.StatusCode, node, portal.VisibleText(string(body)))
		}
		return resp, nil
	}
}

// wasNotHandled reports whether err is one that clients of a stopping server get: the connection
// was refused or reset, or net/http closed it without an answer, as it does with requests that it
// reads after the shutdown began. If the server did handle such a request, the repetition fails,
// because the code is used.
func wasNotHandled(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// expect returns an [sallyport.UnexpectedAnswer] unless the answer is good.
func expect(path string, a portal.Answer, good bool) error {
	if good {
		return nil
	}
	return fmt.Errorf("%w\n%s", &sallyport.UnexpectedAnswer{Path: path, Answer: a}, portal.VisibleText(a.Body))
}

// outcome is the result of a code in one browser.
type outcome struct {
	v        *sallyport.Visitor
	signedIn bool
	err      error
}

// submit submits a code from n browsers at the same time. It returns an error if a browser is
// neither signed in nor refused.
func (l *load) submit(o *sallyport.Owner, c sallyport.Credential, n int) ([]outcome, error) {
	all := make([]outcome, n)
	for i := range all {
		v, err := l.EnterPassword(o)
		if err != nil {
			return all, err
		}
		all[i].v = v
	}
	var submitting sync.WaitGroup
	for i := range all {
		submitting.Go(func() {
			path, field := c.Form()
			a, err := all[i].v.Send(http.MethodPost, path, field, c.Code)
			all[i].signedIn = portal.LeadsTo("/")(a)
			if err == nil {
				err = expect(path, a, all[i].signedIn || a.Status == http.StatusUnprocessableEntity)
			}
			all[i].err = err
		})
	}
	submitting.Wait()
	var errs []error
	for _, one := range all {
		errs = append(errs, one.err)
	}
	return all, errors.Join(errs...)
}

// signIn signs the owner in with a code and returns the browser. With races, two browsers
// submit the code at the same time, and exactly one is signed in.
func (l *load) signIn(o *sallyport.Owner, c sallyport.Credential, races bool) (v *sallyport.Visitor, err error) {
	n := 1
	if races {
		n = 2
	}
	all, err := l.submit(o, c, n)
	if err != nil {
		return nil, err
	}
	accepted := 0
	for _, one := range all {
		if one.signedIn {
			v = one.v
			accepted++
		}
	}
	if accepted != 1 {
		return nil, fmt.Errorf("a code of %s from %d browsers at once was accepted %d times, want once", o.Name, n, accepted)
	}
	return v, nil
}

// passAndSignOut makes a machine pass, uses it, and signs out. Afterwards the session and its
// visit have ended, and the pass still works.
func (l *load) passAndSignOut(v *sallyport.Visitor, o *sallyport.Owner) error {
	made := func(a portal.Answer) bool { return panels.ShownPass.MatchString(a.Body) }
	a, err := v.Post(made, "/settings/security/passes", panels.PassFields("nightly")...)
	if err != nil {
		return err
	}
	token := panels.ShownPass.FindString(a.Body)
	if err := l.usePass(token, o.Name); err != nil {
		return err
	}
	session := http.Header{"Cookie": {portal.SessionCookie + "=" + v.CookieAt(panels.PortalAt, portal.SessionCookie)}}
	visit := http.Header{"Cookie": {"sallyport-visit=" + v.CookieAt(panels.Radio, "sallyport-visit")}}
	if _, err := v.Post(portal.LeadsTo("/login?notice=signed_out"), "/logout"); err != nil {
		return err
	}
	for begin, refused := time.Now(), 0; refused < roundOfRequests; time.Sleep(retryPause) {
		a, err := l.Visitor().Request(http.MethodGet, radioPage, nil, visit)
		switch {
		case err != nil:
			return err
		case a.Status == http.StatusUnauthorized:
			refused++
		case time.Since(begin) > endsWithin:
			return fmt.Errorf("%v after the sign-out, %s accepts the visit, want a refusal by then", time.Since(begin), a.Header.Get(proxies.NodeHeader))
		default:
			refused = 0
		}
		if a, err = l.Visitor().Request(http.MethodGet, panels.PortalAt+"/", nil, session); err == nil {
			err = expect("the start page after the sign-out", a, a.Status != http.StatusOK)
		}
		if err != nil {
			return err
		}
	}
	return l.usePass(token, o.Name)
}

// signInAll signs in the owners whose sessions, visits and machine passes must outlive the
// upgrade, and adds the clients that use them.
func (l *load) signInAll() {
	l.T.Helper()
	plain, err := l.addOwner()
	testkit.Check(l.T, err)
	for i := range 2 {
		v, err := l.enterRadio(plain)
		testkit.Check(l.T, err)
		l.addClient(fmt.Sprint("a session with a password, ", i), pause, func() error {
			return errors.Join(openPages(v), useRadio(v, plain))
		})
	}
	renewed, err := l.enterRadio(plain)
	testkit.Check(l.T, err)
	l.addClient("a session that proves its password again", hashPause, func() error {
		return errors.Join(reauthenticate(renewed, ""), openPages(renewed), useRadio(renewed, plain))
	})

	both, err := l.addOwner()
	testkit.Check(l.T, err)
	enrolled, err := l.enterRadio(both)
	testkit.Check(l.T, err)
	testkit.Check(l.T, enrolled.Enroll(both))
	byCode, err := l.signIn(both, sallyport.Credential{Code: both.CodeNow()}, false)
	testkit.Check(l.T, err)
	byBackupCode, err := l.signIn(both, sallyport.Credential{Backup: true, Code: both.Unused[0]}, false)
	testkit.Check(l.T, err)
	for i, v := range []*sallyport.Visitor{enrolled, byCode, byBackupCode} {
		testkit.Check(l.T, enterPanels(v, both))
		l.addClient(fmt.Sprint("a session with two factors, ", i), pause, func() error {
			return errors.Join(openPages(v), useRadio(v, both), verifyVideo(v, both))
		})
	}

	made, err := l.operator.Load().Run("", "pass", "add", both.Name, "script", "--panel", panels.Radio)
	testkit.Check(l.T, err)
	token := panels.ShownPass.FindString(made)
	l.addClient("a machine pass", pause, func() error { return l.usePass(token, both.Name) })
	l.addClient("new owners", hashPause, func() error { return l.journey(false) })
}

func (l *load) addClient(what string, pause time.Duration, round func() error) {
	l.clients = append(l.clients, &client{what: what, pause: pause, round: round})
}

// run runs all clients until stop is called, which waits for the end of their rounds.
func (l *load) run() (stop func()) {
	over := make(chan struct{})
	var running sync.WaitGroup
	for _, one := range l.clients {
		running.Go(func() {
			for {
				l.runRound(one)
				select {
				case <-over:
					return
				case <-time.After(one.pause):
				}
			}
		})
	}
	return func() { close(over); running.Wait() }
}

func (l *load) runRound(one *client) {
	if err := one.round(); err != nil {
		l.fault("%s: %v", one.what, err)
	}
	one.rounds.Add(1)
}

// during makes a change while the clients run. It returns after a new owner's whole journey, in
// which every other client has finished a round and each of nodes has answered.
func (l *load) during(what string, change func(), nodes ...string) {
	l.T.Helper()
	l.phase.Store(what)
	begin := time.Now()
	change()
	changed := time.Now()
	l.answered.Clear()
	before := make([]int64, len(l.clients))
	for i, one := range l.clients {
		before[i] = one.rounds.Load()
	}
	if err := l.journey(true); err != nil {
		l.fault("a code from two browsers at once: %v", err)
	}
	testkit.Until(l.T, what+": a round of every client, and an answer from each node", func() bool {
		for i, one := range l.clients {
			if one.rounds.Load() == before[i] {
				return false
			}
		}
		return !slices.ContainsFunc(nodes, func(name string) bool { _, ok := l.answered.Load(name); return !ok })
	})
	l.T.Logf("%s: %v, then %v of use", what, changed.Sub(begin), time.Since(changed))
}

// checkAll lets the client of each old session, visit and machine pass do its round several
// times, so that each node answers.
func (l *load) checkAll() {
	for _, one := range l.clients {
		for range 3 {
			l.runRound(one)
		}
	}
	l.T.Logf("%d requests, %d accounts", l.requests.Load(), l.accounts.Load())
}
