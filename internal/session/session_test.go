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

func write(t *testing.T, d *db.DB, change func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	ctx := context.Background()
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) }))
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
		token, err = Create(ctx, tx, owner, Opening{proofs, laptop, life}, now)
		return err
	})
	return token.Reveal()
}

// sessionOf returns the session with this token, or nil if it isn't valid.
func sessionOf(t *testing.T, d *db.DB, token string, now time.Time) *Session {
	t.Helper()
	s, owner, err := ByToken(context.Background(), d.Reader(), token, life, now)
	if errors.Is(err, db.ErrNotFound) {
		if s.ID != "" || owner.ID != "" {
			t.Errorf("ByToken returned ErrNotFound with the session %+v and the account %+v, want neither", s, owner)
		}
		return nil
	}
	testkit.Check(t, err)
	if s.AccountID != owner.ID {
		t.Errorf("ByToken returned a session of account %s with account %s, want the session's account", s.AccountID, owner.ID)
	}
	return &s
}

func TestByTokenReturnsWhatCreateStored(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		got := sessionOf(t, d, open(t, d, ada, testkit.Start), testkit.Start)
		if got == nil {
			t.Fatal("a new session isn't valid")
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
	// Attack 82.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		token := open(t, d, ada, testkit.Start)
		const ms = time.Millisecond
		for after, want := range map[time.Duration]bool{0: true, life.Idle - ms: true, life.Idle: false, life.Absolute: false} {
			if got := sessionOf(t, d, token, testkit.Start.Add(after)) != nil; got != want {
				t.Errorf("unused for %v: valid %v, want %v", after, got, want)
			}
		}
		// Steady use extends the session up to its absolute end.
		now := testkit.Start
		for now.Before(testkit.Start.Add(life.Absolute)) {
			s := sessionOf(t, d, token, now)
			if s == nil {
				t.Fatalf("in use for %v: not valid", now.Sub(testkit.Start))
			}
			write(t, d, func(ctx context.Context, tx *db.Tx) error { return NoteUse(ctx, tx, s.ID, now) })
			now = now.Add(life.Idle - ms)
		}
		last := testkit.Start.Add(life.Absolute)
		if sessionOf(t, d, token, last.Add(-ms)) == nil || sessionOf(t, d, token, last) != nil {
			t.Error("the session doesn't end exactly at its absolute end")
		}
	})
}

func TestLastUseOnlyMovesForward(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		token := open(t, d, add(t, d, "ada"), testkit.Start)
		id := sessionOf(t, d, token, testkit.Start).ID
		for _, test := range []struct{ at, want time.Duration }{
			{5 * time.Minute, 5 * time.Minute},
			{2 * time.Minute, 5 * time.Minute}, // a slower request doesn't move the last use back
			{-time.Hour, 5 * time.Minute},      // a clock that was set back doesn't either
		} {
			write(t, d, func(ctx context.Context, tx *db.Tx) error { return NoteUse(ctx, tx, id, testkit.Start.Add(test.at)) })
			if got := sessionOf(t, d, token, testkit.Start).SeenAt.Sub(testkit.Start); got != test.want {
				t.Errorf("use after %v: last use after %v, want %v", test.at, got, test.want)
			}
		}
	})
}

func TestStampAndDisablingEndASession(t *testing.T) {
	// The rule of the stamp (R17).
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		token, others := open(t, d, ada, testkit.Start), open(t, d, eve, testkit.Start)
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.SetDisabled(ctx, tx, ada.ID, testkit.Start) })
		if sessionOf(t, d, token, testkit.Start) != nil {
			t.Error("the session is valid although the account is disabled")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.SetDisabled(ctx, tx, ada.ID, time.Time{}) })
		if sessionOf(t, d, token, testkit.Start) == nil {
			t.Error("the session isn't valid although the account is enabled again")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { _, err := account.Restamp(ctx, tx, ada.ID); return err })
		if sessionOf(t, d, token, testkit.Start) != nil {
			t.Error("the session is valid under an earlier stamp")
		}
		if sessionOf(t, d, others, testkit.Start) == nil {
			t.Error("another account's session ended")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.Remove(ctx, tx, eve.ID) })
		if sessionOf(t, d, others, testkit.Start) != nil {
			t.Error("the session is valid although the account was removed")
		}
	})
}

func TestIsLiveChecksEverything(t *testing.T) {
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
		if got := s.isLive(testkit.Start.Add(test.after), test.life, test.stamp); got != test.want {
			t.Errorf("%s: valid %v, want %v", test.name, got, test.want)
		}
	}
	if (&Session{}).isLive(testkit.Start, life, "") {
		t.Error("the zero session is valid")
	}
}

func TestChangedTokensAreUnknown(t *testing.T) {
	// Attack 84.
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
			if sessionOf(t, d, other, testkit.Start) != nil {
				t.Errorf("%q is accepted in place of the token %q", other, token)
			}
		}
		if sessionOf(t, d, token, testkit.Start) == nil {
			t.Error("the session isn't found by its own token")
		}
		var stored []byte
		testkit.Check(t, db.One(context.Background(), d.Reader(), `SELECT token_hash FROM sessions`, nil, &stored))
		if len(stored) != 32 || string(stored) == token {
			t.Errorf("%d bytes are stored, want the hash of the token: 32 bytes", len(stored))
		}
	})
}

func TestRenewEndsTheOldToken(t *testing.T) {
	// The rule of new tokens (R16).
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, later := context.Background(), testkit.Start.Add(time.Hour)
		ada := add(t, d, "ada")
		old := open(t, d, ada, testkit.Start)
		s := *sessionOf(t, d, old, testkit.Start)
		current := old
		renew := func(stamp string, proofs []authenticator.Proof, expires time.Time) string {
			var token secret.Text
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				token, err = Renew(ctx, tx, s, Renewal{current, stamp, proofs, expires}, later)
				return err
			})
			current = token.Reveal()
			return current
		}
		token := renew(ada.Stamp, proofs[:1], time.Time{})
		got := sessionOf(t, d, token, later)
		if sessionOf(t, d, old, later) != nil || got == nil {
			t.Fatal("the old token still works, or the new one doesn't")
		}
		want := s
		want.Proofs, want.SeenAt = proofs[:1], later
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("after a reauthentication (-want +got):\n%s", diff)
		}
		again := renew(ada.Stamp, proofs, later.Add(life.Absolute))
		want.Proofs, want.ExpiresAt = proofs, later.Add(life.Absolute)
		if diff := cmp.Diff(&want, sessionOf(t, d, again, later)); diff != "" {
			t.Errorf("after a sign-in (-want +got):\n%s", diff)
		}
		if sessionOf(t, d, token, later) != nil {
			t.Error("the replaced token still works")
		}
		if dead := renew("another stamp", proofs, time.Time{}); sessionOf(t, d, dead, later) != nil {
			t.Error("the session is valid under a stamp that isn't the account's")
		}
		// A session that got another token since it was read isn't renewed.
		if err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := Renew(ctx, tx, s, Renewal{Old: old, Stamp: ada.Stamp, Proofs: proofs}, later)
			return err
		}); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("renewing by a replaced token: %v, want ErrNotFound", err)
		}
		// A revoked session isn't renewed.
		write(t, d, func(ctx context.Context, tx *db.Tx) error { _, err := Revoke(ctx, tx, ada.ID, s.ID); return err })
		err := d.Write(ctx, func(tx *db.Tx) error {
			token, err := Renew(ctx, tx, s, Renewal{Old: current, Stamp: ada.Stamp, Proofs: proofs}, later)
			if token.Reveal() != "" {
				t.Error("Renew returned a token for a revoked session")
			}
			return err
		})
		if !errors.Is(err, db.ErrNotFound) {
			t.Errorf("renewing a revoked session: %v, want ErrNotFound", err)
		}
	})
}

func TestRevokeEndsOnlyTheAccountsOwn(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		mine, other, third, eves := open(t, d, ada, testkit.Start), open(t, d, ada, testkit.Start), open(t, d, ada, testkit.Start), open(t, d, eve, testkit.Start)
		id := func(token string) string { return sessionOf(t, d, token, testkit.Start).ID }
		revoke := func(accountID, id string) (there bool) {
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				there, err = Revoke(ctx, tx, accountID, id)
				return err
			})
			return there
		}
		if revoke(eve.ID, id(mine)) || sessionOf(t, d, mine, testkit.Start) == nil {
			t.Error("eve revoked ada's session (attack 63)")
		}
		third3 := id(third)
		if !revoke(ada.ID, third3) || revoke(ada.ID, third3) || sessionOf(t, d, third, testkit.Start) != nil {
			t.Error("Revoke didn't end the session exactly once")
		}
		revokeOthers := func(kept string) (n int) {
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				n, err = RevokeOthers(ctx, tx, ada.ID, kept)
				return err
			})
			return n
		}
		if n := revokeOthers(id(mine)); n != 1 || sessionOf(t, d, mine, testkit.Start) == nil || sessionOf(t, d, other, testkit.Start) != nil {
			t.Errorf("RevokeOthers ended %d sessions, want 1, which is not the kept one", n)
		}
		if n := revokeOthers(""); n != 1 || sessionOf(t, d, mine, testkit.Start) != nil {
			t.Errorf("RevokeOthers without a session to keep ended %d, want 1", n)
		}
		if sessionOf(t, d, eves, testkit.Start) == nil {
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
			want = append([]string{sessionOf(t, d, open(t, d, ada, at), at).ID}, want...)
		}
		open(t, d, eve, testkit.Start)
		list := func(owner account.Account) (ids []string) {
			all, err := List(ctx, d.Reader(), owner, life, testkit.Start)
			testkit.Check(t, err)
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
			t.Errorf("under another stamp: %v, want none", got)
		}
	})
}

func TestExpireDeletesEndedSessions(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		open(t, d, ada, testkit.Start.Add(-life.Idle))
		open(t, d, ada, testkit.Start.Add(-life.Absolute))
		kept := open(t, d, ada, testkit.Start.Add(-life.Idle+time.Millisecond))
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return Expire(ctx, tx, life, testkit.Start) })
		var n int
		testkit.Check(t, db.One(context.Background(), d.Reader(), `SELECT COUNT(*) FROM sessions`, nil, &n))
		if n != 1 || sessionOf(t, d, kept, testkit.Start) == nil {
			t.Errorf("%d sessions left, want the valid one", n)
		}
	})
}
