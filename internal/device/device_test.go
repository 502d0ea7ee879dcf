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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(d *db.DB, change func(ctx context.Context, tx *db.Tx) error) error {
	ctx := context.Background()
	return d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) })
}

func addAccount(t *testing.T, d *db.DB, name string) string {
	t.Helper()
	var a account.Account
	must(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		return err
	}))
	return a.ID
}

// remember signs the account in with the cookie and returns what it holds then.
func remember(t *testing.T, d *db.DB, cookie, accountID string, now time.Time) string {
	t.Helper()
	var text secret.Text
	must(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		text, err = Remember(ctx, tx, cookie, accountID, Browser{}, now)
		return err
	}))
	return text.Reveal()
}

// knows returns the id of the device that the cookie names for the account.
func knows(t *testing.T, d *db.DB, cookie, accountID string, now time.Time) string {
	t.Helper()
	one, err := Known(context.Background(), d.Reader(), cookie, accountID, now)
	must(t, err)
	return one.ID
}

func TestTwoPeopleWhoShareABrowserStayKnown(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		cookie := remember(t, d, "", ada, now)
		adas := knows(t, d, cookie, ada, now)
		cookie = remember(t, d, cookie, bob, now)
		bobs := knows(t, d, cookie, bob, now)
		for n := range 10 {
			now = now.Add(time.Hour)
			cookie = remember(t, d, cookie, []string{ada, bob}[n%2], now)
			if a, b := knows(t, d, cookie, ada, now), knows(t, d, cookie, bob, now); a != adas || b != bobs {
				t.Fatalf("after sign-in %d: ada's browser %q, bob's %q; want %q, %q", n+1, a, b, adas, bobs)
			}
			if n := len(held(cookie)); n != 2 {
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
		if knows(t, d, owners, ada, now) == "" {
			t.Error("eve's sign-in with a copy made ada's browser unknown")
		}
		again := remember(t, d, owners, ada, now)
		if knows(t, d, copied, ada, now) != "" || knows(t, d, owners, ada, now) != "" {
			t.Error("a copy outlives the owner's next sign-in")
		}
		if knows(t, d, again, ada, now) == "" || knows(t, d, again, eve, now) != "" {
			t.Error("ada's browser is unknown, or known for eve")
		}
		if knows(t, d, copied, eve, now) == "" {
			t.Error("eve's own browser is unknown")
		}
	})
}

// TestOldCookiesAreReadUntilTheirRowsEnd: accounts of one browser once shared a token.
func TestOldCookiesAreReadUntilTheirRowsEnd(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		old := remember(t, d, "", ada, now)
		must(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			return add(ctx, tx, secret.NewText(old), bob, Browser{}, now)
		}))
		if knows(t, d, old, ada, now) == "" || knows(t, d, old, bob, now) == "" {
			t.Fatal("an old cookie isn't read")
		}
		cookie := remember(t, d, old, ada, now)
		if knows(t, d, cookie, ada, now) == "" || knows(t, d, cookie, bob, now) == "" || len(held(cookie)) != 2 {
			t.Error("ada's sign-in loses one of the two")
		}
		if knows(t, d, old, ada, now) != "" {
			t.Error("ada's old token works on")
		}
		cookie = remember(t, d, cookie, bob, now)
		if knows(t, d, cookie, ada, now) == "" || knows(t, d, cookie, bob, now) == "" || knows(t, d, old, bob, now) != "" {
			t.Error("bob's sign-in doesn't end the old token, or loses one of the two")
		}
	})
}

func TestACookieHoldsSoManyTokensAndNoDeadOnes(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, cookie, ids := testkit.Start, "", []string{}
		for n := range maxPerBrowser + 1 {
			ids = append(ids, addAccount(t, d, fmt.Sprint("account", n)))
			cookie = remember(t, d, cookie, ids[n], now)
		}
		if n := len(held(cookie)); n != maxPerBrowser || len(cookie) > 900 {
			t.Errorf("%d tokens, %d bytes", n, len(cookie))
		}
		if knows(t, d, cookie, ids[0], now) != "" || knows(t, d, cookie, ids[1], now) == "" {
			t.Error("the longest unused didn't make room, or another did")
		}
		must(t, write(d, func(ctx context.Context, tx *db.Tx) error { _, err := ForgetOthers(ctx, tx, ids[5], ""); return err }))
		cookie = remember(t, d, strings.Repeat("x.", 3)+cookie, ids[2], now)
		if n := len(held(cookie)); n > maxPerBrowser-2 || knows(t, d, cookie, ids[2], now) == "" {
			t.Errorf("%d tokens with one dead and three made up", n)
		}
	})
}

func TestForgetOthersSparesTheBrowserWithTheCookie(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now, ada, bob := testkit.Start, addAccount(t, d, "ada"), addAccount(t, d, "bob")
		here, there := remember(t, d, "", bob, now), remember(t, d, "", ada, now)
		here = remember(t, d, here, ada, now)
		must(t, write(d, func(ctx context.Context, tx *db.Tx) error { _, err := ForgetOthers(ctx, tx, ada, here); return err }))
		if knows(t, d, here, ada, now) == "" || knows(t, d, there, ada, now) != "" || knows(t, d, here, bob, now) == "" {
			t.Error("the wrong browser was forgotten")
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
				text, err := Remember(ctx, tx, cookie, ada, Browser{}, now)
				cookies[i] = text.Reveal()
				return err
			}))
		})
		for i, one := range cookies {
			if knows(t, d, one, ada, now) == "" {
				t.Errorf("sign-in %d got a cookie that names no known browser", i)
			}
		}
	})
}
