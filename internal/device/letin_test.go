package device

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func letIn(t *testing.T, d *db.DB, cookie, accountID string, now time.Time) string {
	t.Helper()
	var value string
	testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
		text, err := LetIn(ctx, tx, accountID, Browser{Cookie: cookie}, now)
		value = text.Reveal()
		return err
	}))
	return value
}

// isLetIn reports whether the browser is let in, and fails the test if it is known.
func isLetIn(t *testing.T, d *db.DB, cookie, accountID string, now time.Time) bool {
	t.Helper()
	if knownID(t, d, cookie, accountID, now) != "" {
		t.Error("a browser that was only let in is known")
	}
	one, err := ByCookieOrLetIn(context.Background(), d.Reader(), cookie, accountID, now)
	testkit.Check(t, err)
	return one.IsLetIn
}

func TestABrowserIsLetInForADayAndUntilAnother(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		first := letIn(t, d, "", ada, now)
		both := letIn(t, d, first, bob, now)
		if !isLetIn(t, d, both, ada, now) || !isLetIn(t, d, both, bob, now) || isLetIn(t, d, "", ada, now) || isLetIn(t, d, first, bob, now) {
			t.Error("the browser isn't let in for both accounts, or another one is")
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { return Expire(ctx, tx, now.Add(LetInLife-time.Second)) }))
		if end := now.Add(LetInLife); !isLetIn(t, d, both, ada, end.Add(-time.Second)) || isLetIn(t, d, both, ada, end) {
			t.Error("the browser isn't let in for a day")
		}
		second := letIn(t, d, "", ada, now)
		if isLetIn(t, d, both, ada, now) || !isLetIn(t, d, second, ada, now) || !isLetIn(t, d, both, bob, now) {
			t.Error("another browser of ada's doesn't end the first one, or ends bob's")
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { return ClampTimes(ctx, tx, now.Add(-time.Second)) }))
		if isLetIn(t, d, second, ada, now) {
			t.Error("a browser that was let in in the future still is")
		}
	})
}

func TestASignInMakesABrowserKnownThatWasLetIn(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada := testkit.Start, addAccount(t, d, "ada")
		copied := letIn(t, d, "", ada, now)
		cookie := remember(t, d, copied, ada, now)
		if knownID(t, d, cookie, ada, now) == "" || isLetIn(t, d, copied, ada, now) {
			t.Error("the browser isn't known, or a copy of its earlier cookie is still let in")
		}
		if again := letIn(t, d, cookie, ada, now); again != cookie || knownID(t, d, cookie, ada, now) == "" {
			t.Error("letting in a known browser changed it")
		}
		// A browser that is let in pushes out no known browser, even at the limit.
		for range maxPerAccount - 1 {
			remember(t, d, "", ada, now)
		}
		letIn(t, d, "", ada, now)
		if all, err := List(context.Background(), d.Reader(), ada, now); err != nil || len(all) != maxPerAccount || knownID(t, d, cookie, ada, now) == "" {
			t.Errorf("%d known browsers (%v), want %d", len(all), err, maxPerAccount)
		}
	})
}
