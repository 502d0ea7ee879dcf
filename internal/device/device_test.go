package device

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

func write(d *db.DB, change func(ctx context.Context, tx *db.Tx) error) error {
	ctx := context.Background()
	return d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) })
}

func addAccount(t *testing.T, d *db.DB, name string) string {
	t.Helper()
	var a account.Account
	testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		return err
	}))
	return a.ID
}

// remember signs the account in with the cookie and returns the cookie's new value.
func remember(t *testing.T, d *db.DB, cookie, accountID string, now time.Time) string {
	t.Helper()
	var text secret.Text
	testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		text, _, err = Remember(ctx, tx, accountID, Browser{Cookie: cookie}, now)
		return err
	}))
	return text.Reveal()
}

// knownID returns the id of the account's known browser that the cookie names, or "".
func knownID(t *testing.T, d *db.DB, cookie, accountID string, now time.Time) string {
	t.Helper()
	one, err := ByCookie(context.Background(), d.Reader(), cookie, accountID, now)
	testkit.Check(t, err)
	return one.ID
}

func TestTwoPeopleWhoShareABrowserStayKnown(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		cookie := remember(t, d, "", ada, now)
		adas := knownID(t, d, cookie, ada, now)
		cookie = remember(t, d, cookie, bob, now)
		bobs := knownID(t, d, cookie, bob, now)
		for n := range 10 {
			now = now.Add(time.Hour)
			cookie = remember(t, d, cookie, []string{ada, bob}[n%2], now)
			if a, b := knownID(t, d, cookie, ada, now), knownID(t, d, cookie, bob, now); a != adas || b != bobs {
				t.Fatalf("after sign-in %d: ada's browser %q, bob's %q; want %q, %q", n+1, a, b, adas, bobs)
			}
			if n := len(tokensIn(cookie)); n != 2 {
				t.Errorf("the cookie holds %d tokens, want 2", n)
			}
		}
	})
}

func TestACopiedCookieChangesNoOtherAccountsRow(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, eve := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "eve")
		owners := remember(t, d, "", ada, now)
		copied := remember(t, d, owners, eve, now)
		if knownID(t, d, owners, ada, now) == "" {
			t.Error("eve's sign-in with a copy made ada's browser unknown")
		}
		again := remember(t, d, owners, ada, now)
		if knownID(t, d, copied, ada, now) != "" || knownID(t, d, owners, ada, now) != "" {
			t.Error("a copied cookie still works after the owner's next sign-in")
		}
		if knownID(t, d, again, ada, now) == "" || knownID(t, d, again, eve, now) != "" {
			t.Error("ada's browser is unknown, or eve is known in it")
		}
		if knownID(t, d, copied, eve, now) == "" {
			t.Error("eve's own browser is unknown")
		}
	})
}

// Cookies from the time when the accounts in a browser shared a token keep working.
func TestOldCookiesAreReadUntilTheirRowsEnd(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		old := remember(t, d, "", ada, now)
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			return insert(ctx, tx, bob, Browser{Cookie: old}, now)
		}))
		if knownID(t, d, old, ada, now) == "" || knownID(t, d, old, bob, now) == "" {
			t.Fatal("an old cookie isn't accepted")
		}
		cookie := remember(t, d, old, ada, now)
		if knownID(t, d, cookie, ada, now) == "" || knownID(t, d, cookie, bob, now) == "" || len(tokensIn(cookie)) != 2 {
			t.Error("ada's sign-in lost one of the two tokens")
		}
		if knownID(t, d, old, ada, now) != "" {
			t.Error("ada's old token still works")
		}
		cookie = remember(t, d, cookie, bob, now)
		if knownID(t, d, cookie, ada, now) == "" || knownID(t, d, cookie, bob, now) == "" || knownID(t, d, old, bob, now) != "" {
			t.Error("bob's sign-in didn't end the old token, or lost one of the two")
		}
	})
}

func TestACookieHoldsALimitedNumberOfValidTokens(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, cookie, ids := testkit.Start, "", []string{}
		for n := range maxPerBrowser + 1 {
			ids = append(ids, addAccount(t, d, fmt.Sprint("account", n)))
			cookie = remember(t, d, cookie, ids[n], now)
		}
		if n := len(tokensIn(cookie)); n != maxPerBrowser || len(cookie) > 900 {
			t.Errorf("the cookie holds %d tokens in %d bytes, want as many as allowed in at most 900", n, len(cookie))
		}
		if knownID(t, d, cookie, ids[0], now) != "" || knownID(t, d, cookie, ids[1], now) == "" {
			t.Error("the removed token isn't that of the longest unused account")
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { _, err := RemoveOthers(ctx, tx, ids[5], ""); return err }))
		cookie = remember(t, d, strings.Repeat("x.", 3)+cookie, ids[2], now)
		if n := len(tokensIn(cookie)); n > maxPerBrowser-2 || knownID(t, d, cookie, ids[2], now) == "" {
			t.Errorf("%d tokens after a cookie with one ended and three invented ones, want only the remaining ones", n)
		}
	})
}

func TestRemoveOthersSparesTheBrowserWithTheCookie(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		here, there := remember(t, d, "", bob, now), remember(t, d, "", ada, now)
		here = remember(t, d, here, ada, now)
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { _, err := RemoveOthers(ctx, tx, ada, here); return err }))
		if knownID(t, d, here, ada, now) == "" || knownID(t, d, there, ada, now) != "" || knownID(t, d, here, bob, now) == "" {
			t.Error("the wrong browser became unknown")
		}
	})
}

func TestSignInsAtOnceInOneBrowserAllStayKnown(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada := testkit.Start, addAccount(t, d, "ada")
		cookie := remember(t, d, "", ada, now)
		cookies := make([]string, 8)
		testkit.Race(len(cookies), func(i int) string {
			return testkit.Outcome(write(d, func(ctx context.Context, tx *db.Tx) error {
				text, _, err := Remember(ctx, tx, ada, Browser{Cookie: cookie}, now)
				cookies[i] = text.Reveal()
				return err
			}))
		})
		for i, one := range cookies {
			if knownID(t, d, one, ada, now) == "" {
				t.Errorf("the cookie of sign-in %d names no known browser", i)
			}
		}
	})
}
