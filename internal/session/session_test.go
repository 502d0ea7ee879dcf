package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

var (
	life   = Life{Idle: 12 * time.Hour, Absolute: 7 * 24 * time.Hour}
	proofs = []authenticator.Proof{{Kind: authenticator.Password, At: testkit.Start}, {Kind: authenticator.TOTP, ID: "phone", At: testkit.Start}}
	laptop = Browser{Address: "192.0.2.1", UserAgent: "Chrome on Linux"}
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, d *db.DB, change func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	ctx := context.Background()
	must(t, d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) }))
}

func add(t *testing.T, d *db.DB, name string) account.Account {
	t.Helper()
	var a account.Account
	write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		return err
	})
	return a
}

func open(t *testing.T, d *db.DB, owner account.Account, now time.Time) string {
	t.Helper()
	var token secret.Text
	write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
		token, err = Create(ctx, tx, owner, proofs, laptop, life, now)
		return err
	})
	return token.Reveal()
}

// live returns the session of a token, or nil where it isn't live.
func live(t *testing.T, d *db.DB, token string, now time.Time) *Session {
	t.Helper()
	s, owner, err := ByToken(context.Background(), d.Reader(), token, life, now)
	if errors.Is(err, db.ErrNotFound) {
		if s.ID != "" || owner.ID != "" {
			t.Errorf("not found, and yet %+v of %+v", s, owner)
		}
		return nil
	}
	must(t, err)
	if s.AccountID != owner.ID {
		t.Errorf("session of %s with account %s", s.AccountID, owner.ID)
	}
	return &s
}

func TestSessionHoldsWhatItWasOpenedWith(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		got := live(t, d, open(t, d, ada, testkit.Start), testkit.Start)
		if got == nil {
			t.Fatal("not live")
		}
		want := Session{
			ID: got.ID, AccountID: ada.ID, Stamp: ada.Stamp, Proofs: proofs, CreatedAt: testkit.Start, SeenAt: testkit.Start,
			ExpiresAt: testkit.Start.Add(life.Absolute), Address: laptop.Address, Browser: laptop.UserAgent,
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestSessionEndsByItself(t *testing.T) {
	// ATTACKS 82.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		token := open(t, d, ada, testkit.Start)
		const ms = time.Millisecond
		for after, want := range map[time.Duration]bool{0: true, life.Idle - ms: true, life.Idle: false, life.Absolute: false} {
			if got := live(t, d, token, testkit.Start.Add(after)) != nil; got != want {
				t.Errorf("unused, %v later: live %v, want %v", after, got, want)
			}
		}
		// Steady traffic keeps it alive up to its absolute end, not past it.
		now := testkit.Start
		for now.Before(testkit.Start.Add(life.Absolute)) {
			s := live(t, d, token, now)
			if s == nil {
				t.Fatalf("in use, %v later: ended", now.Sub(testkit.Start))
			}
			write(t, d, func(ctx context.Context, tx *db.Tx) error { return Seen(ctx, tx, s.ID, now) })
			now = now.Add(life.Idle - ms)
		}
		last := testkit.Start.Add(life.Absolute)
		if live(t, d, token, last.Add(-ms)) == nil || live(t, d, token, last) != nil {
			t.Error("absolute end isn't where it was set")
		}
	})
}

func TestLastUseOnlyMovesForward(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		token := open(t, d, add(t, d, "ada"), testkit.Start)
		id := live(t, d, token, testkit.Start).ID
		for _, test := range []struct{ at, want time.Duration }{
			{5 * time.Minute, 5 * time.Minute},
			{2 * time.Minute, 5 * time.Minute}, // a slower request doesn't move it back
			{-time.Hour, 5 * time.Minute},      // nor does a clock that was set back
		} {
			write(t, d, func(ctx context.Context, tx *db.Tx) error { return Seen(ctx, tx, id, testkit.Start.Add(test.at)) })
			if got := live(t, d, token, testkit.Start).SeenAt.Sub(testkit.Start); got != test.want {
				t.Errorf("used %v later: seen %v later, want %v", test.at, got, test.want)
			}
		}
	})
}

func TestStampAndDisablingEndASession(t *testing.T) {
	// R17.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		token, others := open(t, d, ada, testkit.Start), open(t, d, eve, testkit.Start)
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.SetDisabled(ctx, tx, ada.ID, testkit.Start) })
		if live(t, d, token, testkit.Start) != nil {
			t.Error("live though the account is disabled")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.SetDisabled(ctx, tx, ada.ID, time.Time{}) })
		if live(t, d, token, testkit.Start) == nil {
			t.Error("not live though the account is enabled")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { _, err := account.Restamp(ctx, tx, ada.ID); return err })
		if live(t, d, token, testkit.Start) != nil {
			t.Error("live under an old stamp")
		}
		if live(t, d, others, testkit.Start) == nil {
			t.Error("another account's session ended")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.Remove(ctx, tx, eve.ID) })
		if live(t, d, others, testkit.Start) != nil {
			t.Error("live though the account is gone")
		}
	})
}

func TestLiveLooksAtEverything(t *testing.T) {
	s := Session{SeenAt: testkit.Start, ExpiresAt: testkit.Start.Add(life.Absolute), Stamp: "one"}
	for _, test := range []struct {
		name  string
		after time.Duration
		life  Life
		stamp string
		want  bool
	}{
		{"live", time.Hour, life, "one", true},
		{"idle", life.Idle, life, "one", false},
		{"a shorter idle time was configured", time.Hour, Life{Idle: time.Minute}, "one", false},
		{"expired though seen", life.Absolute, Life{Idle: 10 * life.Absolute}, "one", false},
		{"another stamp", time.Hour, life, "two", false},
		{"no stamp", time.Hour, life, "", false},
		{"no life configured", 0, Life{}, "one", false},
	} {
		if got := s.live(testkit.Start.Add(test.after), test.life, test.stamp); got != test.want {
			t.Errorf("%s: live %v, want %v", test.name, got, test.want)
		}
	}
	if (&Session{}).live(testkit.Start, life, "") {
		t.Error("the zero session is live")
	}
}

func TestForeignTokensAreUnknown(t *testing.T) {
	// ATTACKS 84.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		token := open(t, d, add(t, d, "ada"), testkit.Start)
		var tries []string
		for i := range token {
			for bit := range 8 {
				changed := []byte(token)
				changed[i] ^= 1 << bit
				tries = append(tries, string(changed))
			}
			tries = append(tries, token[:i], token[i:]+"A")
		}
		tries = append(tries, token+"A", " "+token, token+"\x00", string(secret.Hash(token)), fmt.Sprintf("%x", secret.Hash(token)), "\xff", "' OR 1=1 --")
		for _, other := range tries {
			if live(t, d, other, testkit.Start) != nil {
				t.Errorf("%q is taken for %q", other, token)
			}
		}
		if live(t, d, token, testkit.Start) == nil {
			t.Error("the token itself is unknown")
		}
		var stored []byte
		must(t, db.One(context.Background(), d.Reader(), `SELECT token_hash FROM sessions`, nil, &stored))
		if len(stored) != 32 || string(stored) == token {
			t.Errorf("stored: %d bytes", len(stored))
		}
	})
}

func TestRenewKillsTheOldToken(t *testing.T) {
	// R16.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, later := context.Background(), testkit.Start.Add(time.Hour)
		ada := add(t, d, "ada")
		old := open(t, d, ada, testkit.Start)
		s := *live(t, d, old, testkit.Start)
		current := old
		renew := func(stamp string, proofs []authenticator.Proof, expires time.Time) string {
			var token secret.Text
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				token, err = Renew(ctx, tx, s, current, stamp, proofs, expires, later)
				return err
			})
			current = token.Reveal()
			return current
		}
		token := renew(ada.Stamp, proofs[:1], time.Time{})
		got := live(t, d, token, later)
		if live(t, d, old, later) != nil || got == nil {
			t.Fatal("the old token works, or the new one doesn't")
		}
		want := s
		want.Proofs, want.SeenAt = proofs[:1], later
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("a reauthentication (-want +got):\n%s", diff)
		}
		again := renew(ada.Stamp, proofs, later.Add(life.Absolute))
		want.Proofs, want.ExpiresAt = proofs, later.Add(life.Absolute)
		if diff := cmp.Diff(&want, live(t, d, again, later)); diff != "" {
			t.Errorf("a sign-in (-want +got):\n%s", diff)
		}
		if live(t, d, token, later) != nil {
			t.Error("the token between works")
		}
		if dead := renew("another stamp", proofs, time.Time{}); live(t, d, dead, later) != nil {
			t.Error("live under a stamp that isn't the account's")
		}
		// Nor is one that got another token since it was read.
		if err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := Renew(ctx, tx, s, old, ada.Stamp, proofs, time.Time{}, later)
			return err
		}); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("renewed by an older token: %v", err)
		}
		// One that was revoked isn't revived.
		write(t, d, func(ctx context.Context, tx *db.Tx) error { _, err := Revoke(ctx, tx, ada.ID, s.ID); return err })
		err := d.Write(ctx, func(tx *db.Tx) error {
			token, err := Renew(ctx, tx, s, current, ada.Stamp, proofs, time.Time{}, later)
			if token.Reveal() != "" {
				t.Error("a token for a revoked session")
			}
			return err
		})
		if !errors.Is(err, db.ErrNotFound) {
			t.Errorf("renewed a revoked session: %v", err)
		}
	})
}

func TestRevokeEndsOnlyTheAccountsOwn(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		mine, other, third, eves := open(t, d, ada, testkit.Start), open(t, d, ada, testkit.Start), open(t, d, ada, testkit.Start), open(t, d, eve, testkit.Start)
		id := func(token string) string { return live(t, d, token, testkit.Start).ID }
		revoke := func(accountID, id string) (there bool) {
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				there, err = Revoke(ctx, tx, accountID, id)
				return err
			})
			return there
		}
		if revoke(eve.ID, id(mine)) || live(t, d, mine, testkit.Start) == nil {
			t.Error("eve ends ada's session (ATTACKS 63)")
		}
		third3 := id(third)
		if !revoke(ada.ID, third3) || revoke(ada.ID, third3) || live(t, d, third, testkit.Start) != nil {
			t.Error("revoking ends a session once")
		}
		revokeOthers := func(except string) (n int) {
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				n, err = RevokeOthers(ctx, tx, ada.ID, except)
				return err
			})
			return n
		}
		if n := revokeOthers(id(mine)); n != 1 || live(t, d, mine, testkit.Start) == nil || live(t, d, other, testkit.Start) != nil {
			t.Errorf("others revoked: %d, want 1 and this one spared", n)
		}
		if n := revokeOthers(""); n != 1 || live(t, d, mine, testkit.Start) != nil {
			t.Errorf("all revoked: %d", n)
		}
		if live(t, d, eves, testkit.Start) == nil {
			t.Error("eve's session ended with ada's")
		}
	})
}

func TestListShowsLiveSessionsLastUsedFirst(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		open(t, d, ada, testkit.Start.Add(-life.Idle)) // idle
		var want []string
		for _, minutes := range []time.Duration{3, 2, 1} {
			at := testkit.Start.Add(-minutes * time.Minute)
			want = append([]string{live(t, d, open(t, d, ada, at), at).ID}, want...)
		}
		open(t, d, eve, testkit.Start)
		list := func(owner account.Account) (ids []string) {
			all, err := List(ctx, d.Reader(), owner, life, testkit.Start)
			must(t, err)
			for _, s := range all {
				ids = append(ids, s.ID)
			}
			return ids
		}
		if diff := cmp.Diff(want, list(ada)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		ada.Stamp = "another"
		if got := list(ada); got != nil {
			t.Errorf("under another stamp: %v", got)
		}
	})
}

func TestSweepDropsWhatEnded(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		open(t, d, ada, testkit.Start.Add(-life.Idle))
		open(t, d, ada, testkit.Start.Add(-life.Absolute))
		kept := open(t, d, ada, testkit.Start.Add(-life.Idle+time.Millisecond))
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return Sweep(ctx, tx, life, testkit.Start) })
		var n int
		must(t, db.One(context.Background(), d.Reader(), `SELECT COUNT(*) FROM sessions`, nil, &n))
		if n != 1 || live(t, d, kept, testkit.Start) == nil {
			t.Errorf("%d left, want the live one", n)
		}
	})
}

func TestUnreadableSessionsAreDenied(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ada := context.Background(), add(t, d, "ada")
		token := open(t, d, ada, testkit.Start)
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE sessions SET proofs = 'webauthn:x:1'`)
			return err
		})
		if s, _, err := ByToken(ctx, d.Reader(), token, life, testkit.Start); err == nil || s.ID != "" {
			t.Errorf("unknown proof: %+v, %v (F3)", s, err)
		}
		must(t, d.Close())
		if s, owner, err := ByToken(ctx, d.Reader(), token, life, testkit.Start); !errors.Is(err, db.ErrUnavailable) || s.ID != "" || owner.ID != "" {
			t.Errorf("closed database: %+v, %v (F1)", s, err)
		}
	})
}
