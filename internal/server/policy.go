package server

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/policy"
)

// policyItems returns the declared policies. The day on which a policy starts to require two-factor
// authentication begins in the site's time zone.
func policyItems(cfg config.Config) []policy.Item {
	levels := map[config.Asked]policy.Level{config.AskedObserve: policy.Observe, config.AskedNudge: policy.Nudge, config.AskedRequired: policy.Required}
	var all []policy.Item
	for _, one := range cfg.Policy {
		asked := policy.Policy{TwoFactor: levels[one.TwoFactor], ByTicket: one.Enroll == config.EnrollTicket}
		if one.From != (config.Date{}) {
			asked.From = policy.StartOfDay(one.From.Year, one.From.Month, one.From.Day, cfg.SiteTimeZone.Location())
		}
		all = append(all, policy.Item{Groups: one.Groups, Policy: asked})
	}
	return all
}

// Reach is the number of accounts that an item of the policy concerns.
type Reach struct {
	Key    string   // of the item, such as "policy[0]"
	Groups []string // of the item
	Asked  policy.Policy
	N      int // accounts without two-factor authentication
}

// Sentence says what the item means for the accounts at the time now.
func (r Reach) Sentence(now time.Time) string {
	who := "of all accounts"
	if !slices.Contains(r.Groups, policy.Everybody) {
		who = "of the accounts in " + strings.Join(r.Groups, ", ")
	}
	lack := fmt.Sprintf("%s, %d have no two-factor authentication", who, r.N)
	if r.N == 1 {
		lack = who + ", 1 has no two-factor authentication"
	}
	switch day := r.Asked.From.Format(time.DateOnly); {
	case r.Asked.Requires(now):
		return lack + ": nothing but its set-up is open to them, and their machine passes are refused"
	case r.Asked.TwoFactor == policy.Required:
		return fmt.Sprintf("%s: from %s on, nothing but its set-up will be open to them, and their machine passes will be refused", lack, day)
	case r.Asked.TwoFactor == policy.Nudge:
		return lack + ": a page after the sign-in recommends it"
	}
	return lack
}

// PolicyReach returns how many accounts each declared policy concerns. It leaves out policies
// with the level off.
func PolicyReach(ctx context.Context, cfg config.Config, q db.Querier) ([]Reach, error) {
	var all []Reach
	for i, item := range policyItems(cfg) {
		if item.Policy.TwoFactor == policy.Off {
			continue
		}
		n, err := countWithout(ctx, q, item.Groups, slices.Contains(item.Groups, policy.Everybody))
		if err != nil {
			return nil, err
		}
		all = append(all, Reach{fmt.Sprintf("policy[%d]", i), item.Groups, item.Policy, n})
	}
	return all, nil
}

// CheckPolicy is [PolicyReach] for a command that must not change the database. It also returns the
// time of the reference clock. The parameter own is the machine's time. If no policy is declared, it
// returns own and no reach. If there is no portal, its error wraps maintenance.ErrNoPortal.
func CheckPolicy(ctx context.Context, cfg config.Config, own time.Time) (all []Reach, now time.Time, err error) {
	if len(cfg.Policy) == 0 {
		return nil, own, nil
	}
	ctx, cancel := context.WithTimeout(ctx, groupTime)
	defer cancel()
	d, err := databaseOf(cfg).OpenCurrent(ctx)
	if err != nil {
		return nil, own, err
	}
	defer d.Close()
	if now, err = d.Clock(ctx, own); err != nil {
		return nil, own, err
	}
	all, err = PolicyReach(ctx, cfg, d.Reader())
	return all, now, err
}

// countWithout is account.CountWithoutTwoFactor, but executes no statement if there are no groups.
func countWithout(ctx context.Context, q db.Querier, groups []string, everybody bool) (int, error) {
	if len(groups) == 0 && !everybody {
		return 0, nil
	}
	return account.CountWithoutTwoFactor(ctx, q, groups, everybody)
}

// logPolicy logs how many accounts each policy concerns.
func (p *Portal) logPolicy(ctx context.Context, cfg config.Config) {
	ctx, cancel := context.WithTimeout(ctx, groupTime)
	defer cancel()
	all, err := PolicyReach(ctx, cfg, p.DB.Reader())
	if err != nil {
		p.Log.Warn("the accounts that the policies concern couldn't be counted", "reason", err.Error())
	}
	for _, one := range all {
		p.Log.Info("policy: "+one.Sentence(p.Entry.PolicyClock()), "setting", one.Key, "accounts", one.N)
	}
}

// countAgain is how long the metrics of the policies use the same count. With a million accounts,
// counting takes longer than a scrape should.
const countAgain = time.Minute

// registerPolicy adds a gauge for each level of the policy. Its value is the number of accounts that
// have exactly this level and no two-factor authentication. The function count returns the number of
// such accounts with the given level or a stricter one.
func (m *metrics) registerPolicy(count func(ctx context.Context, least policy.Level) (int, error), now func() time.Time) {
	help := map[policy.Level]string{
		policy.Observe:  "Accounts without two-factor authentication that a policy only observes.",
		policy.Nudge:    "Accounts without two-factor authentication to which a policy recommends it.",
		policy.Required: "Accounts without two-factor authentication of which a policy requires it, now or from a later day on.",
	}
	var (
		mu    sync.Mutex
		at    time.Time
		known map[policy.Level]float64
	)
	for _, level := range policy.Levels() {
		m.registry.AddGauge("sallyport_accounts_without_two_factor_"+level.String(), help[level], func() float64 {
			mu.Lock()
			defer mu.Unlock()
			if age := now().Sub(at); known == nil || age < 0 || age >= countAgain {
				known, at = countByLevel(count), now()
			}
			return known[level]
		})
	}
}

// countByLevel returns how many accounts have exactly each level. NaN stands for an unknown number.
func countByLevel(count func(ctx context.Context, least policy.Level) (int, error)) map[policy.Level]float64 {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	exactly, stricter := map[policy.Level]float64{}, 0.0
	for _, level := range slices.Backward(policy.Levels()) {
		n, err := count(ctx, level)
		atLeast := float64(n)
		if err != nil {
			atLeast = math.NaN()
		}
		exactly[level], stricter = atLeast-stricter, atLeast
	}
	return exactly
}
