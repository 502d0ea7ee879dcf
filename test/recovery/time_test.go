package recovery

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// The kinds of names that a stranger may want to tell apart. The test compares the others with the
// first.
var kinds = []string{"unknown", "known", "disabled", "unverified"}

const (
	samples = 1000
	// chance is the probability below which a difference between two kinds counts. There are three
	// comparisons of the answers and two of the requests beside, on two engines.
	chance = 0.01 / (5 * 2)
	// repeats is how often a difference must be seen, each time in new samples, so that the test
	// finds one that isn't there in one of 10⁸ runs.
	repeats = 3
	// signInsBeside is how many sign-ins are tried while one mail is written: more than its sender
	// has transactions.
	signInsBeside = 5
)

// times are what a stranger can measure after a request for one name.
type times struct {
	answer time.Duration // until the answer
	beside time.Duration // that other requests take while the mail is prepared
}

// TestAttackD7TimeTellsNoName asks for links in mixed order and compares the times of the kinds of
// names: of the answers, and of sign-ins while the sender decides who gets a mail. SQLite has one
// writer, for which these wait. While a mail is sent, the machine works for it, so the second time
// may tell a name that gets a mail: three times a day, each time with a mail to its owner.
func TestAttackD7TimeTellsNoName(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		seen := map[string]int{}
		for round := range repeats {
			of := ask(t, p, round)
			compare := func(what, kind string, time func(times) time.Duration) (probability float64) {
				first, second := timesOf(of[kinds[0]], time), timesOf(of[kind], time)
				probability = sameDistribution(first, second)
				t.Logf("%s: median %v for %s names and %v for %s ones; p = %.2g", what, median(first), kinds[0], median(second), kind, probability)
				return probability
			}
			for _, kind := range kinds[1:] {
				if compare("answer", kind, func(s times) time.Duration { return s.answer }) < chance {
					seen["the answer to "+kind+" names"]++
				}
				if compare("requests beside", kind, func(s times) time.Duration { return s.beside }) < chance && kind != "known" {
					seen["requests beside the mail to "+kind+" names"]++
				}
			}
			if len(seen) == 0 {
				return
			}
		}
		for what, n := range seen {
			if n == repeats {
				t.Errorf("the time of %s isn't that of %s ones", what, kinds[0])
			}
		}
	}, portal.BehindProxy)
}

func timesOf(all []times, of func(times) time.Duration) (picked []time.Duration) {
	for _, one := range all {
		picked = append(picked, of(one))
	}
	return picked
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// ask asks once for each of many names, of which no two are alike, and returns the times by kind.
func ask(t *testing.T, p *portal.Portal, round int) map[string][]times {
	t.Helper()
	ctx := context.Background()
	type name struct{ kind, typed string }
	var names []name
	for i := range samples / len(kinds) {
		for _, kind := range kinds {
			n := name{kind, fmt.Sprintf("%s-%d-%d", kind, round, i)}
			addKind(t, p, n.kind, n.typed)
			names = append(names, n)
		}
	}
	portal.Mails(t, p)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	stranger, other := p.Browser(t), p.Browser(t)
	of, first := map[string][]times{}, ""
	for i, n := range names {
		portal.FromNetwork(stranger, 2*i)
		portal.FromNetwork(other, 2*i+1)
		began := time.Now()
		a := stranger.Post("/forgot", "username", n.typed)
		took := times{answer: time.Since(began)}
		header := a.Header.Clone()
		header.Del("Date")
		if got := fmt.Sprint(a.Status, header, a.Body); first == "" {
			first = got
		} else if got != first {
			t.Fatalf("%s: %s\nwant the same as for other names:\n%s", n.typed, got, first)
		}
		began = time.Now()
		testkit.Check(t, p.Outbox.Run(ctx))
		for k := range signInsBeside {
			if a := other.Post("/login", "username", fmt.Sprintf("other-%d-%d", i, k), "password", chosen); a.Status != http.StatusUnprocessableEntity {
				t.Fatal(portal.Summary(a))
			}
		}
		took.beside = time.Since(began)
		p.Outbox.Wait()
		p.Clock.Move(time.Minute)
		of[n.kind] = append(of[n.kind], took)
	}
	return of
}

// addKind adds an account of one of the kinds, unless its name is to be unknown.
func addKind(t *testing.T, p *portal.Portal, kind, name string) {
	t.Helper()
	if kind == "unknown" {
		return
	}
	ctx, by, a := context.Background(), manage.CommandLine(), p.AddAccount(t, name)
	if kind == "unverified" {
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, by, a, name+"@example.com"))
		return
	}
	portal.VerifyEmail(t, p, name)
	if kind == "disabled" {
		testkit.Check(t, p.Manage.Accounts.Disable(ctx, by, a))
	}
}

// sameDistribution returns the probability of a difference in the ranks of two samples that is as
// large as theirs, if both come from one distribution: the test of Mann, Whitney and Wilcoxon.
func sameDistribution(first, second []time.Duration) float64 {
	all := slices.Sorted(slices.Values(append(slices.Clone(first), second...)))
	ranks := 0.0 // their sum
	for _, one := range first {
		before, _ := slices.BinarySearch(all, one)
		after, _ := slices.BinarySearch(all, one+1)
		ranks += float64(before+1+after) / 2 // the mean of those that are alike
	}
	n, m := float64(len(first)), float64(len(second))
	deviation := (ranks - n*(n+m+1)/2) / math.Sqrt(n*m*(n+m+1)/12)
	return math.Erfc(math.Abs(deviation) / math.Sqrt2)
}

// The comparison notices a difference of one standard deviation.
func TestSameDistributionNoticesADifference(t *testing.T) {
	sample := func(factor float64) (all []time.Duration) {
		for range samples / len(kinds) {
			all = append(all, time.Duration(factor*float64(2*time.Millisecond)*(1+rand.NormFloat64()/10)))
		}
		return all
	}
	if p := sameDistribution(sample(1), sample(1)); p < 1e-6 {
		t.Errorf("two samples of one distribution: p = %g", p)
	}
	if p := sameDistribution(sample(1), sample(1.1)); p > chance {
		t.Errorf("a difference of one standard deviation: p = %g", p)
	}
}
