package sallyport_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
)

const (
	// soakers keep two cores busy.
	soakers = 4

	// unansweredAtMost of an account: with five its password would count as known
	// to somebody, since a try that nobody could give back counts as failed.
	unansweredAtMost = 2

	// restsAtMost is the pause between two faults.
	restsAtMost = 2 * time.Second

	// goroutinesMore may run after the soak than before: connections that the
	// pool opened since, and one that is being closed.
	goroutinesMore = 8

	// memoryMore is what the process may have more than before: two passwords that
	// are hashed, of 19 MiB each, twice, since the collector lets the heap double
	// before it looks; and stacks and connections. What kept four kilobytes of each
	// sign-in would be more within ten minutes.
	memoryMore = 96 << 20
)

// soak has people do everything while anything happens, and then looks at what the
// nodes have become.
func (s *ordeal) soak(owners []*Owner, lasts time.Duration) {
	s.T.Helper()
	before := s.vitals()
	h, over := newHistory(), make(chan struct{})
	visits := newHistory()
	var done atomic.Int64
	var living sync.WaitGroup
	for i := range soakers {
		var mine []*Owner
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
func (s *ordeal) liveOn(o *Owner, h *history) {
	var all []Credential
	if o.LastStep < totp.Step(time.Now()) {
		all = append(all, Credential{Code: o.CodeNow()})
	}
	if len(o.Unused) > 1 {
		all = append(all, Credential{Backup: true, Code: o.Unused[0]})
		o.Unused = o.Unused[1:]
	}
	for _, c := range all {
		for said := unknown; (said == unknown || said == accepted) && len(o.Unsure) < unansweredAtMost; {
			v, err := s.Pending(o)
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
	answered, ok := err.(*Unexpected)
	if !Died(err) && !(ok && (answered.Answer.Status >= http.StatusInternalServerError || answered.Answer.Status == http.StatusTooManyRequests)) {
		s.T.Errorf("soak: %v", err)
	}
}

// vital is what a node says about itself.
type vital struct{ goroutines, memory float64 }

func (s *ordeal) vitals() (all []vital) {
	for _, n := range s.nodes {
		n.way.CloseIdleConnections()
		all = append(all, vital{reading(Scrape(s.T, n.metrics), "go_goroutines"), reading(Scrape(s.T, n.metrics), "process_resident_memory_bytes")})
	}
	return all
}

// reading returns what a metric says.
func reading(text, name string) float64 {
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseFloat(line, 64)
	return n
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
