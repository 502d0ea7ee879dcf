package ticket

import (
	"context"
	"errors"
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

func add(t *testing.T, d *db.DB, name string) (a account.Account) {
	t.Helper()
	testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		return err
	}))
	return a
}

func issue(t *testing.T, d *db.DB, kind Kind, id string, now time.Time) string {
	t.Helper()
	var token secret.Text
	testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) (err error) {
		token, err = Issue(ctx, tx, kind, id, now)
		return err
	}))
	return token.Reveal()
}

func redeem(d *db.DB, token string, now time.Time) error {
	return write(d, func(ctx context.Context, tx *db.Tx) error {
		ticket, err := ByToken(ctx, tx, token, now)
		if err != nil {
			return err
		}
		return Redeem(ctx, tx, ticket, now)
	})
}

func TestTicketIsValidOnceAndForItsLife(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, start := context.Background(), testkit.Start
		ada := add(t, d, "ada")
		for kind, test := range map[Kind]struct {
			id   string
			life time.Duration
		}{
			Setup:      {"", 15 * time.Minute},
			Invitation: {ada.ID, 72 * time.Hour},
			Enroll:     {ada.ID, 15 * time.Minute},
		} {
			token := issue(t, d, kind, test.id, start)
			// Opening it, as mail scanners do, doesn't redeem it (attack 68).
			for range 3 {
				got, err := ByToken(ctx, d.Reader(), token, start.Add(test.life-time.Millisecond))
				if err != nil || got.Kind != kind || got.AccountID != test.id || !got.ExpiresAt.Equal(start.Add(test.life)) {
					t.Errorf("ByToken of a valid %s: %+v, %v; want the ticket that was issued", kind, got, err)
				}
			}
			if _, err := ByToken(ctx, d.Reader(), token, start.Add(test.life)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s after %v: %v, want ErrInvalid", kind, test.life, err)
			}
			// A ticket that was read in time but redeemed too late.
			ticket, err := ByToken(ctx, d.Reader(), token, start)
			testkit.Check(t, err)
			if err := write(d, func(ctx context.Context, tx *db.Tx) error { return Redeem(ctx, tx, ticket, start.Add(test.life)) }); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s redeemed after %v: %v, want ErrInvalid", kind, test.life, err)
			}
			got := testkit.Race(32, func(int) string { return testkit.Outcome(redeem(d, token, start)) })
			if got["ok"] != 1 || got[ErrInvalid.Error()] != 31 {
				t.Errorf("32 callers redeem one %s at once: %v, want one success", kind, got)
			}
			// A ticket that was read before another caller redeemed it.
			if err := write(d, func(ctx context.Context, tx *db.Tx) error { return Redeem(ctx, tx, ticket, start) }); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s redeemed a second time: %v, want ErrInvalid", kind, err)
			}
			if _, err := ByToken(ctx, d.Reader(), token, start); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s read after it was redeemed: %v, want ErrInvalid", kind, err)
			}
		}
	})
}

func TestChosenLifeHasLimits(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		earlier := issue(t, d, Enroll, ada.ID, testkit.Start)
		for _, test := range []struct {
			life time.Duration
			want error
		}{
			{-time.Hour, ErrLife}, {0, ErrLife}, {MinLife - 1, ErrLife}, {MaxLife + 1, ErrLife}, {MinLife, nil}, {MaxLife, nil},
		} {
			var token secret.Text
			err := write(d, func(ctx context.Context, tx *db.Tx) (err error) {
				token, err = IssueUntil(ctx, tx, Ticket{Kind: Enroll, AccountID: ada.ID, ExpiresAt: testkit.Start.Add(test.life)}, testkit.Start)
				return err
			})
			if !errors.Is(err, test.want) {
				t.Errorf("a link for %v: %v, want %v", test.life, err, test.want)
			}
			// A refused link doesn't end the earlier one.
			valid := token.Reveal()
			if test.want != nil {
				valid = earlier
			}
			if _, err := ByToken(context.Background(), d.Reader(), valid, testkit.Start); err != nil {
				t.Errorf("after a link for %v: %v, want a valid link", test.life, err)
			}
		}
	})
}

func TestNewerTicketEndsTheOlder(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, start := context.Background(), testkit.Start
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		works := func(token string) bool {
			_, err := ByToken(ctx, d.Reader(), token, start)
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return err == nil
		}
		setup, invitation, enroll := issue(t, d, Setup, "", start), issue(t, d, Invitation, ada.ID, start), issue(t, d, Enroll, ada.ID, start)
		others := []string{issue(t, d, Invitation, ada.ID, start), issue(t, d, Enroll, eve.ID, start)}
		newSetup, newEnroll := issue(t, d, Setup, "", start), issue(t, d, Enroll, ada.ID, start)
		for _, dead := range []string{invitation, enroll} {
			if works(dead) {
				t.Error("an older link is still valid after a newer one was issued")
			}
		}
		for _, alive := range append(others, setup, newSetup, newEnroll) {
			if !works(alive) {
				t.Error("a link of another kind or account became invalid")
			}
		}
	})
}

// TestOneSetUpLinkUsesUpTheOthers checks that the setup links that several nodes print create one
// account.
func TestOneSetUpLinkUsesUpTheOthers(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		tokens := make([]string, 8)
		for i := range tokens {
			tokens[i] = issue(t, d, Setup, "", testkit.Start)
		}
		got := testkit.Race(32, func(i int) string { return testkit.Outcome(redeem(d, tokens[i%len(tokens)], testkit.Start)) })
		if got["ok"] != 1 || got[ErrInvalid.Error()] != 31 {
			t.Errorf("32 callers redeem 8 setup links at once: %v, want one success", got)
		}
		for _, token := range tokens {
			if _, err := ByToken(context.Background(), d.Reader(), token, testkit.Start); !errors.Is(err, ErrInvalid) {
				t.Errorf("a setup link after another one was redeemed: %v, want ErrInvalid", err)
			}
		}
	})
}

func TestChangedTokensAreNoTickets(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, start := context.Background(), testkit.Start
		token := issue(t, d, Setup, "", start)
		for i := range token {
			changed := []byte(token)
			changed[i] ^= 1
			for _, other := range []string{string(changed), token[:i]} {
				if _, err := ByToken(ctx, d.Reader(), other, start); !errors.Is(err, ErrInvalid) {
					t.Errorf("changed token %q: %v, want ErrInvalid", other, err)
				}
			}
		}
		for _, other := range []string{"", token + "A", " " + token, string(secret.Hash(token))} {
			if _, err := ByToken(ctx, d.Reader(), other, start); !errors.Is(err, ErrInvalid) {
				t.Errorf("token %q (R11): %v, want ErrInvalid", other, err)
			}
		}
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE tickets SET kind = 'admin'`)
			return err
		}))
		if _, err := ByToken(ctx, d.Reader(), token, start); !errors.Is(err, ErrInvalid) {
			t.Errorf("unknown kind (F3): %v, want ErrInvalid", err)
		}
		testkit.Check(t, d.Close())
		if _, err := ByToken(ctx, d.Reader(), token, start); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("closed database: %v, want ErrUnavailable", err)
		}
	})
}

func TestExpireTicketsDeletesInvalidLinks(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, start := context.Background(), testkit.Start
		ada, eve := add(t, d, "ada"), add(t, d, "eve")
		invitation := issue(t, d, Invitation, ada.ID, start)
		issue(t, d, Enroll, ada.ID, start)
		testkit.Check(t, redeem(d, issue(t, d, Invitation, eve.ID, start), start))
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { return Expire(ctx, tx, start.Add(15*time.Minute)) }))
		var n int
		testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM tickets`, nil, &n))
		if _, err := ByToken(ctx, d.Reader(), invitation, start); err != nil || n != 1 {
			t.Errorf("after Expire, %d links are left, want the valid one alone; reading it: %v", n, err)
		}
	})
}
