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
	// codeRounds is the number of codes that are submitted to all nodes at the same time,
	// enough for every fault. The variable roundsVariable sets another number.
	codeRounds     = 52
	roundsVariable = "SALLYPORT_ROUNDS"

	// soakTime is how long the soak lasts, in which everything happens at the same time. The
	// variable soakVariable sets another duration.
	soakTime     = 10 * time.Second
	soakVariable = "SALLYPORT_SOAK"

	// soakOwners is the number of owners for each second of the soak. An owner whose requests
	// went unanswered too often submits no more codes.
	soakOwners = 1

	// faultTime is the longest time that most faults last. Every longFaultEvery-th fault lasts
	// longFaultTime, which is longer than a node waits for the database.
	faultTime      = time.Second
	longFaultTime  = 12 * time.Second
	longFaultEvery = 40

	// begunWithin is how soon after the start of a fault the actions during it begin.
	begunWithin = 100 * time.Millisecond
)

// TestFaults checks what the product promises about codes, budgets and visits while nodes, their
// database and the connections between them fail.
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
	s.entriesHaveSessions()
	s.everyConnectionWaits()
	s.diskIsFull()
	s.soak(owners[budgets+forCodes:], lasts)
	portal.NothingHalfDone(t, testkit.Open(t, s.primary.URL("postgres")))
	s.nodes[0].Command("audit", "verify")
	s.nodes[0].Command("key", "check")
}
