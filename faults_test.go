package sallyport_test

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

const (
	// codeRounds is how many codes are given to all nodes at once: enough for every
	// fault. roundsVariable asks for another number.
	codeRounds     = 52
	roundsVariable = "SALLYPORT_ROUNDS"

	// soakTime is how long everything happens at once; soakVariable asks for
	// another time.
	soakTime     = 10 * time.Second
	soakVariable = "SALLYPORT_SOAK"

	// soakOwners live through each second of it: who had no answer too often does
	// no more.
	soakOwners = 1

	// harmedFor is how long a fault lasts at most; every longHarm-th lasts
	// harmedForLong, which is longer than a node waits for the database.
	harmedFor     = time.Second
	harmedForLong = 12 * time.Second
	longHarm      = 40

	// begunWithin: what is done during a fault begins while it does.
	begunWithin = 100 * time.Millisecond
)

// What is promised of codes, budgets and visits, while nodes, their database and
// all between them break.
func TestFaults(t *testing.T) {
	t.Parallel()
	rounds, seed := Series(t, roundsVariable, codeRounds)
	lasts := soakTime
	if text := os.Getenv(soakVariable); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		Check(t, err)
	}
	budgets, forCodes, forSoak := rounds/roundsPerBudget, (rounds+1)/2, soakOwners*int(lasts.Seconds())
	s := startOrdeal(t, 2*(budgets+forCodes+forSoak), seed)
	var owners []*Owner // with two-factor authentication
	for i := 0; i < len(s.Owners); i += 2 {
		owners = append(owners, s.Owners[i])
	}
	s.budgetsHold(owners[:budgets])
	s.codes(owners[budgets : budgets+forCodes])
	s.visitsEnd(rounds > codeRounds)
	s.doorsHaveSessions()
	s.everyConnectionWaits()
	s.diskIsFull()
	s.soak(owners[budgets+forCodes:], lasts)
	NothingHalfDone(t, testkit.Open(t, s.primary.URL("postgres")))
	s.nodes[0].Command("audit", "verify")
	s.nodes[0].Command("key", "check")
}

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
