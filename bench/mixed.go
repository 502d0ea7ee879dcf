package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// mixture is the mixed load: the number of operations of each kind in one unit of the load. Every
// sign-in costs a password hash, so a unit takes some 50 ms of one core.
var mixture = []kind{
	{"Click", 200, (*mixed).click},
	{"Sign-in with code", 2, (*mixed).signIn},
	{"Wrong code", 1, (*mixed).wrongCode},
	{"Sign-out", 1, (*mixed).signOut},
}

// kind is a kind of operations.
type kind struct {
	name  string
	share int // number of these operations in a unit
	do    func(m *mixed, o *operation) error
}

// operation is one operation of a load.
type operation struct {
	kind    int // index in the mixture
	due     time.Duration
	account int    // number of its account, which no other operation uses; clicks have none
	attempt string // cookie of the attempt, once the password was submitted
	took    time.Duration
}

// saturating is the number of clients that saturate the server. Their sign-ins fit into the
// hashing queue.
const saturating = 16

// mostUnits is a rate, in units a second, that is higher than one core can handle.
const mostUnits = 40

// mixed is a running binary under mixed load.
type mixed struct {
	*population
	gate   *gate
	client *http.Client
	clicks chan *connection // unused connections for clicks
	visits [][]byte
}

// measureMixed measures the latency of each kind of request in the mixed load, at half the rate
// that saturates the server, and compares it with the latency of that kind alone at the same rate.
// Then it measures how long audit events wait to be sealed while as many users sign in as can.
func measureMixed(b *bench) {
	t := b.hashedPopulation()
	m := &mixed{population: t, gate: b.startGate(t.dir, ""), visits: visitsOf(visitors, t.size), clicks: make(chan *connection, b.maxConnections())}
	m.client = b.newClient()
	m.client.Jar = nil // requests carry the cookies of many browsers
	m.client.Transport.(*http.Transport).MaxIdleConnsPerHost = b.maxConnections()
	for range cap(m.clicks) {
		c, err := newConnection(m.gate.at)
		b.must(err)
		b.Cleanup(func() { c.conn.Close() })
		m.clicks <- c
	}
	units := m.saturatingRate()
	b.add(row{what: "Mixed load that saturates: clicks", unit: "/s", got: units * float64(mixture[0].share)})
	b.add(row{what: "Mixed load that saturates: sign-ins with code", unit: "/s", got: units * float64(mixture[1].share)})
	together := m.atRate(units/2, -1)
	for i, k := range mixture {
		alone := m.atRate(units/2, i)[i]
		for _, one := range []struct {
			name  string
			value func(sample) float64
		}{{"p50", p50Of}, {"p99", p99Of}, {"p99.9", p999Of}} {
			got, bare := one.value(together[i])/1000, one.value(alone)/1000
			b.add(row{what: k.name + " in the mixed load: " + one.name, unit: "ms", got: got, bare: bare, ratio: got / bare})
		}
	}
	m.sealing()
}

// operations returns the operations of a number of units at a rate, in the order in which they
// are due, and prepares the data that they need. The parameter only is the index of the one kind to
// return, or negative for all kinds.
func (m *mixed) operations(units int, perSecond float64, only int) []*operation {
	var all []*operation
	for i, k := range mixture {
		if only >= 0 && i != only {
			continue
		}
		for n := range units * k.share {
			due := (float64(n) + rand.Float64()) / float64(k.share) / perSecond
			o := &operation{kind: i, due: time.Duration(due * float64(time.Second))}
			if i > 0 { // clicks share some visits
				o.account = m.nextAccount()
			}
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b *operation) int { return int(a.due - b.due) })
	for _, o := range all {
		if mixture[o.kind].name == "Wrong code" {
			m.must(m.password(o))
		}
	}
	return all
}

// nextAccount returns an account that no operation has used. It leaves out accounts whose visits
// are used for clicks, since a sign-out would end these visits.
func (m *mixed) nextAccount() int {
	for {
		n := m.used
		m.used++
		if n >= m.size {
			m.Fatal("the mixed load has used all its accounts")
		}
		if n%(m.size/visitors) != 0 {
			return n
		}
	}
}

// perform runs an operation and counts its time from start.
func (m *mixed) perform(o *operation, start time.Time) error {
	if err := mixture[o.kind].do(m, o); err != nil {
		return fmt.Errorf("%s of account %d: %w", mixture[o.kind].name, o.account, err)
	}
	o.took = time.Since(start)
	return nil
}

// saturatingRate returns how many units a second the server handles if each client sends its next
// operation as soon as the last one is answered.
func (m *mixed) saturatingRate() float64 {
	all := m.operations(int(mostUnits*m.steady.Seconds()/2)+1, mostUnits, -1)
	var next atomic.Int64
	start := time.Now()
	m.each(saturating, func() error {
		for time.Since(start) < m.steady/2 {
			n := int(next.Add(1)) - 1
			if n >= len(all) {
				return errors.New("the machine is faster than the search expects")
			}
			if err := m.perform(all[n], time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	unit := 0
	for _, k := range mixture {
		unit += k.share
	}
	return float64(min(int(next.Load()), len(all))) / float64(unit) / time.Since(start).Seconds()
}

// each calls the function one in each of the given number of concurrent clients. All must succeed.
func (m *mixed) each(clients int, one func() error) {
	var all sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		all.Go(func() { errs[i] = one() })
	}
	all.Wait()
	m.must(errors.Join(errs...))
}

// atRate sends operations when they are due, whether earlier ones are answered or not, and
// returns the samples of each kind. The rate is in units a second; see [mixed.operations] for only.
func (m *mixed) atRate(perSecond float64, only int) []sample {
	all := m.operations(max(1, int(perSecond*m.steady.Seconds())), perSecond, only)
	errs := make([]error, len(all))
	var under sync.WaitGroup
	start := time.Now()
	for i, o := range all {
		due := start.Add(o.due)
		sleepUntil(due)
		under.Go(func() { errs[i] = m.perform(o, due) })
	}
	under.Wait()
	total := time.Since(start)
	m.must(errors.Join(errs...))
	took := make([][]time.Duration, len(mixture))
	for _, o := range all {
		took[o.kind] = append(took[o.kind], o.took)
	}
	samples := make([]sample, len(mixture))
	for i := range mixture {
		samples[i] = timed(took[i], total)
	}
	return samples
}

// click asks whether a visit, chosen at random, may open its panel.
func (m *mixed) click(*operation) error {
	c := <-m.clicks
	defer func() { m.clicks <- c }()
	status, err := c.ask(m.visits[rand.IntN(len(m.visits))])
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

// signIn submits a password and a right code from a known browser.
func (m *mixed) signIn(o *operation) error {
	if err := m.password(o); err != nil {
		return err
	}
	cookies, err := m.submit(o, "/login/code", http.StatusSeeOther, url.Values{"code": {totp.CodeAt(secretOf(o.account), time.Now())}}, o.attempt, m.device(o))
	if err == nil && cookies[sessionCookie] == "" {
		err = errors.New("a right code gave no session")
	}
	return err
}

// password submits the right password and keeps the cookie of the attempt.
func (m *mixed) password(o *operation) error {
	cookies, err := m.submit(o, "/login", http.StatusSeeOther, url.Values{"username": {nameOf(o.account)}, "password": {portal.Password}}, m.device(o))
	if o.attempt = cookies[attemptCookie]; err == nil && o.attempt == "" {
		err = errors.New("a right password gave no attempt")
	}
	return err
}

func (m *mixed) wrongCode(o *operation) error {
	long := time.Now().Add(-betweenRounds)
	_, err := m.submit(o, "/login/code", http.StatusUnprocessableEntity, url.Values{"code": {totp.CodeAt(secretOf(o.account), long)}}, o.attempt, m.device(o))
	return err
}

func (m *mixed) signOut(o *operation) error {
	_, err := m.submit(o, "/logout", http.StatusSeeOther, nil, sessionCookie+"="+tokenOf("session", o.account))
	return err
}

func (m *mixed) device(o *operation) string {
	return deviceCookie + "=" + tokenOf("device", o.account)
}

// statusError is an unexpected status of an answer.
type statusError struct {
	path      string
	got, want int
}

func (e statusError) Error() string {
	return fmt.Sprintf("POST %s: status %d, not %d", e.path, e.got, e.want)
}

// isBusy reports whether the hashing queue was full.
func isBusy(err error) bool {
	var status statusError
	return errors.As(err, &status) && status.got == http.StatusServiceUnavailable
}

// submit posts a form from the network of the operation's account. It returns a map from the name
// of each cookie that the answer sets to the cookie in the form NAME=VALUE.
func (m *mixed) submit(o *operation, path string, want int, form url.Values, cookies ...string) (map[string]string, error) {
	header := http.Header{"X-Forwarded-For": {networkOf(o.account).Address.String()}, "Cookie": {strings.Join(cookies, "; ")}}
	resp, err := postForm(m.client, m.gate.at, path, header, form)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, statusError{path, resp.StatusCode, want}
	}
	set := map[string]string{}
	for _, c := range resp.Cookies() {
		if c.Value != "" {
			set[c.Name] = c.Name + "=" + c.Value
		}
	}
	return set, nil
}
