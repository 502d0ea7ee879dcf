package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestPolicyReachCountsAccounts(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
			for _, group := range []string{"ops", "op", "o_s", "office"} {
				if err := account.AddGroup(ctx, tx, group, testkit.Start); err != nil {
					return err
				}
			}
			for name, groups := range map[string]string{"ada": "ops", "bob": "ops office", "eve": "op", "joe": "o_s", "kim": "", "on": "ops", "gone": "ops"} {
				a, err := account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
				if err != nil {
					return err
				}
				for _, group := range strings.Fields(groups) {
					if _, err := account.Join(ctx, tx, group, a.ID); err != nil {
						return err
					}
				}
				switch name {
				case "on":
					err = account.SetTwoFactor(ctx, tx, a.ID, testkit.Start)
				case "gone":
					err = account.SetDisabled(ctx, tx, a.ID, testkit.Start)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}))
		cfg := config.Default()
		cfg.SiteTimeZone = "Europe/Berlin"
		cfg.Policy = []config.Policy{
			{Groups: []string{"*"}, TwoFactor: config.AskedObserve},
			{Groups: []string{"nobody"}, TwoFactor: config.AskedOff},
			{Groups: []string{"op", "o_s"}, TwoFactor: config.AskedNudge},
			{Groups: []string{"office"}, TwoFactor: config.AskedRequired, From: config.Date{Year: 2027, Month: 2, Day: 1}},
			{Groups: []string{"ops", "office"}, TwoFactor: config.AskedRequired},
		}
		all, err := PolicyReach(ctx, cfg, d.Reader())
		testkit.Check(t, err)
		var got []string
		for _, one := range all {
			got = append(got, one.Key+": "+one.Sentence(testkit.Start))
		}
		want := []string{
			"policy[0]: of all accounts, 5 have no two-factor authentication",
			"policy[2]: of the accounts in op, o_s, 2 have no two-factor authentication: a page after the sign-in recommends it",
			"policy[3]: of the accounts in office, 1 has no two-factor authentication: from 2027-02-01 on, nothing but its set-up will be open to them, and their machine passes will be refused",
			"policy[4]: of the accounts in ops, office, 2 have no two-factor authentication: nothing but its set-up is open to them, and their machine passes are refused",
		}
		if text := strings.Join(got, "\n"); text != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", text, strings.Join(want, "\n"))
		}

		var book policy.Book
		book.Set(policyItems(cfg))
		levels := countByLevel(func(_ context.Context, least policy.Level) (int, error) {
			groups, everybody := book.Groups(least)
			return countWithout(ctx, d.Reader(), groups, everybody)
		})
		if levels[policy.Observe] != 1 || levels[policy.Nudge] != 2 || levels[policy.Required] != 2 {
			t.Errorf("by level: %v, want 1 observed, 2 nudged, 2 required", levels)
		}
	})
}

// The metrics count again after a minute, not at each scrape.
func TestPolicyMetricsKeepTheirCounts(t *testing.T) {
	now, counts := testkit.Start, 0
	m := &metrics{}
	m.registerPolicy(func(context.Context, policy.Level) (int, error) { counts++; return counts, nil }, func() time.Time { return now })
	first := string(m.registry.Append(nil))
	now = now.Add(countAgain - 1)
	if again := string(m.registry.Append(nil)); again != first || counts != len(policy.Levels()) {
		t.Errorf("a second scrape within a minute counts again, want the first counts:\n%s", again)
	}
	now = now.Add(1)
	if later := string(m.registry.Append(nil)); later == first {
		t.Errorf("a minute later, the counts are the same, want new ones:\n%s", later)
	}
}
