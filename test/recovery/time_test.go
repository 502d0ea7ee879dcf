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

// kinds are the kinds of names that a stranger must not be able to tell apart. The test compares each
// of the others with the first.
var kinds = []string{"unknown", "known", "disabled", "unverified"}

const (
	samples = 1000
	// chance is the probability below which a difference between two kinds counts. On each of two
	// engines the test makes three comparisons of answers and two of simultaneous sign-ins.
	chance = 0.01 / (5 * 2)
	// repeats is the number of rounds, each with new samples, in which a difference must be seen. So
	// one test run in 10⁸ fails without a real difference.
	repeats = 3
	// signInsBeside is the number of sign-ins that are tried while one mail is prepared. It is larger
	// than the number of the sender's transactions.
	signInsBeside = 5
)

// times are what a stranger can measure after a request for one name.
type times struct {
	answer time.Duration // from the request to its answer
	beside time.Duration // of other requests while the mail is prepared
}

// TestAttackD7TimeTellsNoName asks for links in random order, and compares two times between the kinds
// of names: that of the answer, and that of sign-ins while the sender decides who gets a mail. On
// SQLite these sign-ins wait for the sender's transactions. Sending a mail takes processor time, so the
// test permits that the second time reveals a name that gets a mail. That is possible three times a
// day, and each time the owner gets a mail.
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
				t.Errorf("in each of %d rounds, the time of %s differed from that of %s ones, want no difference", repeats, what, kinds[0])
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

// ask asks for a link once for each of many different names, and returns the times by kind.
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
			t.Fatalf("ask for a link for %s: %s\nwant the same answer as for other names:\n%s", n.typed, got, first)
		}
		began = time.Now()
		testkit.Check(t, p.Outbox.Run(ctx))
		for k := range signInsBeside {
			if a := other.Post("/login", "username", fmt.Sprintf("other-%d-%d", i, k), "password", chosen); a.Status != http.StatusUnprocessableEntity {
				t.Fatalf("sign-in with a name that doesn't exist: %s, want 422", portal.Summary(a))
			}
		}
		took.beside = time.Since(began)
		p.Outbox.Wait()
		p.Clock.Move(time.Minute)
		of[n.kind] = append(of[n.kind], took)
	}
	return of
}

// addKind adds an account of one of the kinds. For the kind unknown it adds none.
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

// sameDistribution returns the p-value of the Mann–Whitney–Wilcoxon test: the probability that the
// ranks of two samples from one distribution differ by as much as those of first and second.
func sameDistribution(first, second []time.Duration) float64 {
	all := slices.Sorted(slices.Values(append(slices.Clone(first), second...)))
	ranks := 0.0 // the sum of the ranks of first
	for _, one := range first {
		before, _ := slices.BinarySearch(all, one)
		after, _ := slices.BinarySearch(all, one+1)
		ranks += float64(before+1+after) / 2 // equal values have their mean rank
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
		t.Errorf("two samples of one distribution: p = %g, want at least 1e-6", p)
	}
	if p := sameDistribution(sample(1), sample(1.1)); p > chance {
		t.Errorf("two samples that differ by one standard deviation: p = %g, want at most %g", p, chance)
	}
}
