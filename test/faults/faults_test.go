package faults

import (
	"os"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
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
	rounds, seed := sallyport.Series(t, roundsVariable, codeRounds)
	lasts := soakTime
	if text := os.Getenv(soakVariable); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		testkit.Check(t, err)
	}
	budgets, forCodes, forSoak := rounds/roundsPerBudget, (rounds+1)/2, soakOwners*int(lasts.Seconds())
	s := startOrdeal(t, 2*(budgets+forCodes+forSoak), seed)
	var owners []*sallyport.Owner // with two-factor authentication
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
	portal.NothingHalfDone(t, testkit.Open(t, s.primary.URL("postgres")))
	s.nodes[0].Command("audit", "verify")
	s.nodes[0].Command("key", "check")
}
