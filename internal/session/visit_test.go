package session

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

const (
	panel      = "https://panel.example.com"
	otherPanel = "https://another.example.org"
	state      = "what the browser holds"
)

func handOff(t *testing.T, d *db.DB, s Session, now time.Time) string {
	t.Helper()
	var token secret.Text
	write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
		token, err = HandOff(ctx, tx, s, Destination{panel, state, "/there?x=1"}, now)
		return err
	})
	return token.Reveal()
}

// redeem redeems a handoff in a transaction of its own.
func redeem(d *db.DB, token, panel, state string, now time.Time) (visit, returnURL string, err error) {
	ctx := context.Background()
	var entered Entered
	err = d.Write(ctx, func(tx *db.Tx) (err error) {
		entered, err = Enter(ctx, tx, Arrival{Handoff: token, Panel: panel, State: state}, now)
		return err
	})
	return entered.Visit.Reveal(), entered.ReturnURL, errors.Join(err, entered.Refused)
}

// isAdmitted reports whether the token is that of a valid visit to the panel.
func isAdmitted(t *testing.T, d *db.DB, token, panel string, now time.Time) bool {
	t.Helper()
	v, err := VisitByToken(context.Background(), d.Reader(), token, panel, life, now)
	if errors.Is(err, db.ErrNotFound) {
		return false
	}
	testkit.Check(t, err)
	if v.ID == "" || v.Owner.ID != v.Session.AccountID {
		t.Errorf("VisitByToken returned %+v, want an ID and the session's owner", v)
	}
	return true
}

// signedIn returns a new account with a session.
func signedIn(t *testing.T, d *db.DB) (account.Account, Session) {
	t.Helper()
	ada := add(t, d, "ada")
	return ada, *sessionOf(t, d, open(t, d, ada, testkit.Start), testkit.Start)
}

func TestHandoffAdmitsOneBrowserOnce(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		_, s := signedIn(t, d)
		now := testkit.Start
		for _, test := range []struct {
			name, panel, state string
			after              time.Duration
			want               error
			back               string
		}{
			{"right", panel, state, 0, nil, "/there?x=1"},
			{"another panel", otherPanel, state, 0, ErrHandoff, ""},
			{"another browser", panel, "planted", 0, ErrState, "/there?x=1"},
			{"no state", panel, "", 0, ErrState, "/there?x=1"},
			{"at the last moment", panel, state, handoffLife - time.Millisecond, nil, "/there?x=1"},
			{"too late", panel, state, handoffLife, ErrHandoff, ""},
		} {
			token := handOff(t, d, s, now)
			visit, back, err := redeem(d, token, test.panel, test.state, now.Add(test.after))
			if !errors.Is(err, test.want) || back != test.back || (visit != "") != (test.want == nil) {
				t.Errorf("%s: a visit: %t, return URL %q, error %v; want a visit: %t, %q, %v", test.name, visit != "", back, err, test.want == nil, test.back, test.want)
			}
			if _, _, err := redeem(d, token, panel, state, now); !errors.Is(err, ErrHandoff) {
				t.Errorf("%s, a second time: %v, want ErrHandoff", test.name, err)
			}
		}
		if _, _, err := redeem(d, "", panel, state, now); !errors.Is(err, ErrHandoff) {
			t.Errorf("empty token: %v, want ErrHandoff", err)
		}
	})
}

func TestOfManyConcurrentRequestsOneRedeemsAHandoff(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		_, s := signedIn(t, d)
		token := handOff(t, d, s, testkit.Start)
		got := testkit.Race(32, func(int) string {
			_, _, err := redeem(d, token, panel, state, testkit.Start)
			return testkit.Outcome(err)
		})
		if got["ok"] != 1 {
			t.Errorf("outcomes %v, want exactly one ok", got)
		}
	})
}

func TestVisitAdmitsToItsPanelWhileItsSessionIsValid(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, now := add(t, d, "ada"), testkit.Start
		token := open(t, d, ada, now)
		s := *sessionOf(t, d, token, now)
		begin := func() string {
			visit, _, err := redeem(d, handOff(t, d, s, now), panel, state, now)
			testkit.Check(t, err)
			return visit
		}
		visit := begin()
		for name, got := range map[string]bool{
			"its panel":       isAdmitted(t, d, visit, panel, now),
			"another panel":   isAdmitted(t, d, visit, otherPanel, now),
			"no token":        isAdmitted(t, d, "", panel, now),
			"a part":          isAdmitted(t, d, visit[1:], panel, now),
			"idle too long":   isAdmitted(t, d, visit, panel, now.Add(life.Idle)),
			"after its end":   isAdmitted(t, d, visit, panel, now.Add(life.Absolute)),
			"at the portal":   sessionOf(t, d, visit, now) != nil,
			"at another path": isAdmitted(t, d, visit, panel+"/", now),
		} {
			if want := name == "its panel"; got != want {
				t.Errorf("%s: admitted %v, want %v", name, got, want)
			}
		}
		// A renewed session, as after a reauthentication, keeps its visits.
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := Renew(ctx, tx, s, Renewal{Old: token, Stamp: ada.Stamp, Proofs: proofs}, now)
			return err
		})
		if !isAdmitted(t, d, visit, panel, now) {
			t.Error("the visit ended with the old token")
		}
		// Only the newest visits stay.
		all := []string{visit}
		for range maxVisits {
			now = now.Add(time.Second)
			all = append(all, begin())
		}
		for i, one := range all {
			if got, want := isAdmitted(t, d, one, panel, now), i > 0; got != want {
				t.Errorf("visit %d of %d: admitted %v, want %v", i, len(all), got, want)
			}
		}
		last := all[len(all)-1]
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.SetDisabled(ctx, tx, ada.ID, now) })
		if isAdmitted(t, d, last, panel, now) {
			t.Error("the visit admits although the account is disabled")
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error { return account.SetDisabled(ctx, tx, ada.ID, time.Time{}) })
		if !isAdmitted(t, d, last, panel, now) {
			t.Error("the visit doesn't admit although the account is enabled again")
		}
		token = handOff(t, d, s, now)
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := Revoke(ctx, tx, ada.ID, s.ID)
			return err
		})
		if isAdmitted(t, d, last, panel, now) {
			t.Error("the visit admits although the session was revoked")
		}
		if _, _, err := redeem(d, token, panel, state, now); !errors.Is(err, ErrHandoff) {
			t.Errorf("handoff of a revoked session: %v, want ErrHandoff", err)
		}
	})
}

func TestStampEndsVisits(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, s := signedIn(t, d)
		visit, _, err := redeem(d, handOff(t, d, s, testkit.Start), panel, state, testkit.Start)
		testkit.Check(t, err)
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := account.Restamp(ctx, tx, ada.ID)
			return err
		})
		if isAdmitted(t, d, visit, panel, testkit.Start) {
			t.Error("the visit admits under an earlier stamp (R17)")
		}
	})
}

func TestExpireHandoffsDeletesUnusedOnes(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		_, s := signedIn(t, d)
		handOff(t, d, s, testkit.Start)
		young := handOff(t, d, s, testkit.Start.Add(handoffLife))
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			return ExpireHandoffs(ctx, tx, testkit.Start.Add(handoffLife))
		})
		var n int
		testkit.Check(t, db.One(context.Background(), d.Reader(), `SELECT COUNT(*) FROM handoffs`, nil, &n))
		if _, _, err := redeem(d, young, panel, state, testkit.Start.Add(handoffLife)); n != 1 || err != nil {
			t.Errorf("%d handoffs left, want 1; the newer one: %v", n, err)
		}
	})
}

func TestHandoffsOfASessionAreBounded(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		_, s := signedIn(t, d)
		var last string
		for i := range maxHandoffs + 5 {
			last = handOff(t, d, s, testkit.Start.Add(time.Duration(i)*time.Millisecond))
		}
		var n int
		testkit.Check(t, db.One(context.Background(), d.Reader(), `SELECT COUNT(*) FROM handoffs`, nil, &n))
		if _, _, err := redeem(d, last, panel, state, testkit.Start); n != maxHandoffs || err != nil {
			t.Errorf("%d handoffs, want %d; the newest: %v", n, maxHandoffs, err)
		}
	})
}
