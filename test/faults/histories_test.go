package faults

// A history is a list of requests with their outcomes as clients saw them. It is linearizable if
// there is an order in which every request took effect between its start and its answer, and in
// which the outcomes follow the rules of a model. Porcupine searches for such an order.

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Outcomes of operations.
const (
	accepted = "accepted"
	refused  = "refused"
	unknown  = "unknown" // no answer, or an error of the server: the operation may have taken effect or not
)

// codesADay is the number of wrong codes of an account that are compared in a day (R1).
const codesADay = 5

// history records operations. It is safe for concurrent use.
type history struct {
	mu    sync.Mutex
	begin time.Time
	all   []porcupine.Operation
}

func newHistory() *history { return &history{begin: time.Now()} }

// run runs an operation on a thing, records it, and returns its outcome.
func (h *history) run(thing, what string, do func() (outcome string)) string {
	call := time.Since(h.begin)
	outcome := do()
	h.add(thing, what, outcome, call, time.Since(h.begin))
	return outcome
}

func (h *history) add(thing, what, outcome string, call, end time.Duration) {
	if outcome == unknown {
		end = math.MaxInt64 // it may take effect later
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: len(h.all), Input: operation{thing, what}, Output: outcome, Call: int64(call), Return: int64(end)})
}

// operation is an operation on a thing, such as an account or a code.
type operation struct{ thing, what string }

// violations returns the things whose operations have no order that a model allows. The model is
// step: it returns the states that may follow the given state after an operation with the given
// outcome.
func (h *history) violations(step func(state int, what, outcome string) []int) []string {
	byThing := map[string][]porcupine.Operation{}
	for _, one := range h.all {
		thing := one.Input.(operation).thing
		byThing[thing] = append(byThing[thing], one)
	}
	model := (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{0} },
		Step: func(state, input, output any) (next []any) {
			for _, one := range step(state.(int), input.(operation).what, output.(string)) {
				next = append(next, one)
			}
			return next
		},
	}).ToModel()
	var violated []string
	for thing, history := range byThing {
		if !porcupine.CheckOperations(model, history) {
			violated = append(violated, thing)
		}
	}
	return violated
}

// codeModel is the model of a code or a backup code. The first one that takes effect is accepted,
// and all others are refused. The state is 1 once the code is used.
func codeModel(used int, _, outcome string) []int {
	switch {
	case outcome == unknown:
		return []int{used, 1}
	case outcome == accepted && used == 0, outcome == refused && used == 1:
		return []int{1}
	}
	return nil
}

// Operations on a budget.
const (
	wrongCode = "wrong code"
	rightCode = "right code"
)

// budgetModel is the model of an account's budget of codes. A wrong code is compared while the
// budget isn't used up, and uses one unit. Afterwards no code is compared. The state is the number
// of used units.
func budgetModel(used int, what, outcome string) []int {
	left := used < codesADay
	switch {
	case outcome == unknown && left:
		return []int{used, used + 1} // also for a right code, if its unit wasn't given back
	case outcome == unknown, outcome == portal.OutcomeTwoCodes && !left, outcome == portal.OutcomeEnded && !left:
		return []int{used}
	// A compared wrong code can have OutcomeEnded, if another of the five ended all attempts.
	case what == wrongCode && (outcome == portal.OutcomeWrong || outcome == portal.OutcomeEnded) && left:
		return []int{used + 1}
	case what == rightCode && outcome == portal.OutcomePassed && left:
		return []int{used}
	}
	return nil
}

// Operations on a visit.
const (
	signOut = "sign out"
	use     = "use"
)

// visitModel is the model of a visit at one node. A sign-out must reach the node within a bound
// after its answer, so it is recorded as if its answer had come that much later. The state is 1
// once the visit has ended.
func visitModel(revoked int, what, outcome string) []int {
	switch {
	case what == signOut && outcome == unknown:
		return []int{revoked, 1}
	case what == signOut && outcome == accepted:
		return []int{1}
	case what == use && outcome == unknown, what == use && outcome == accepted && revoked == 0, what == use && outcome == refused && revoked == 1:
		return []int{revoked}
	}
	return nil
}

// TestWrongHistoriesAreFound checks that the models allow right histories and refuse wrong ones.
func TestWrongHistoriesAreFound(t *testing.T) {
	t.Parallel()
	type event struct {
		call, end     time.Duration
		what, outcome string
	}
	for name, test := range map[string]struct {
		step func(int, string, string) []int
		ok   bool
		all  []event
	}{
		"one of three accepted":                 {codeModel, true, []event{{0, 5, "", refused}, {1, 3, "", accepted}, {2, 9, "", unknown}, {10, 11, "", refused}}},
		"no answer, and it took effect":         {codeModel, true, []event{{0, 1, "", unknown}, {2, 3, "", refused}}},
		"no answer, and no effect":              {codeModel, true, []event{{0, 1, "", unknown}, {2, 3, "", accepted}}},
		"accepted twice":                        {codeModel, false, []event{{0, 5, "", accepted}, {1, 3, "", accepted}}},
		"accepted twice, the second time later": {codeModel, false, []event{{0, 1, "", accepted}, {2, 3, "", unknown}, {4, 5, "", accepted}}},
		"refused but never accepted":            {codeModel, false, []event{{0, 1, "", refused}, {2, 3, "", refused}}},
		"refused before it was accepted":        {codeModel, false, []event{{0, 1, "", refused}, {2, 3, "", accepted}}},

		"five wrong codes compared": {budgetModel, true, []event{{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong},
			{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeTwoCodes}, {0, 9, wrongCode, portal.OutcomeEnded}, {10, 11, rightCode, portal.OutcomeTwoCodes}}},
		"four wrong codes and one without an answer": {budgetModel, true, []event{{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong},
			{0, 9, wrongCode, unknown}, {10, 11, rightCode, portal.OutcomeTwoCodes}}},
		"six wrong codes compared, and one whose attempt ended": {budgetModel, false, []event{{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong},
			{0, 9, wrongCode, portal.OutcomeWrong}, {10, 11, wrongCode, portal.OutcomeEnded}, {12, 13, wrongCode, portal.OutcomeWrong}}},
		"six wrong codes compared": {budgetModel, false, []event{{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong},
			{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}}},
		"right code accepted after five wrong ones": {budgetModel, false, []event{{0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong}, {0, 9, wrongCode, portal.OutcomeWrong},
			{0, 9, wrongCode, portal.OutcomeWrong}, {10, 11, rightCode, portal.OutcomePassed}}},
		"refused before five wrong codes": {budgetModel, false, []event{{0, 9, wrongCode, portal.OutcomeWrong}, {10, 11, rightCode, portal.OutcomeTwoCodes}}},

		"used within the bound":       {visitModel, true, []event{{0, 1, use, accepted}, {2, 9, signOut, accepted}, {5, 6, use, accepted}, {10, 11, use, refused}}},
		"no answer to the sign-out":   {visitModel, true, []event{{2, 9, signOut, unknown}, {10, 11, use, accepted}, {12, 13, use, refused}}},
		"used past the bound":         {visitModel, false, []event{{2, 9, signOut, accepted}, {10, 11, use, accepted}}},
		"accepted after a refusal":    {visitModel, false, []event{{2, 9, signOut, accepted}, {3, 4, use, refused}, {5, 6, use, accepted}}},
		"refused before the sign-out": {visitModel, false, []event{{0, 1, use, refused}, {2, 9, signOut, accepted}}},
	} {
		h := newHistory()
		for _, one := range test.all {
			h.add(name, one.what, one.outcome, one.call, one.end)
		}
		if violated := h.violations(test.step); (len(violated) == 0) != test.ok {
			t.Errorf("history %q: violations %q, want none: %v", name, violated, test.ok)
		}
	}
}
