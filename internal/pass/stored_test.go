package pass

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// A pass whose scope or proofs can't be read is denied (F3).
func TestCorruptPassesAreDenied(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := newOwner(t, d, "ada")
		token, err := create(d, ada, samplePass(t, "one"))
		if err != nil {
			t.Fatal(err)
		}
		for column, values := range map[string][]string{
			"path": {"", "api", "/a//b", "/%2e/"}, "methods": {"G;T", "*"}, "addresses": {"anywhere", "10.0.0.0/99"}, "proofs": {"x:y:1", "password"},
		} {
			for _, value := range values {
				err := d.Write(context.Background(), func(tx *db.Tx) error {
					if _, err := db.Exec(context.Background(), tx, `UPDATE passes SET `+column+` = $1`, value); err != nil {
						return err
					}
					if p, _, err := ByToken(context.Background(), tx, token, panel); err == nil || errors.Is(err, db.ErrNotFound) {
						t.Errorf("%s %q is read as %+v, %v; want an error", column, value, p, err)
					}
					return errors.New("roll back")
				})
				if err == nil {
					t.Error("the transaction wasn't rolled back")
				}
			}
		}
		if !isFound(t, d, token, panel) {
			t.Error("the unchanged pass isn't found")
		}
	})
}

// A pass that can't be read doesn't prevent the addition of an authenticator, and can be revoked.
func TestCorruptPassesCanBeRevoked(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := newOwner(t, d, "ada")
		for name, change := range map[string]string{
			"proofs": `proofs = 'smartcard::1'`, "path": `path = 'api'`, "operator's": `proofs = 'smartcard::1', by_operator = TRUE`,
		} {
			if _, err := create(d, ada, samplePass(t, name)); err != nil {
				t.Fatal(err)
			}
			write(t, d, func(ctx context.Context, tx *db.Tx) error {
				_, err := db.Exec(ctx, tx, `UPDATE passes SET `+change+` WHERE name = $1`, name)
				return err
			})
		}
		strong := samplePass(t, "strong")
		strong.ByOperator = true
		if _, err := create(d, ada, strong); err != nil {
			t.Fatal(err)
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			stamp, err := account.Restamp(ctx, tx, ada.ID)
			if err != nil {
				return err
			}
			return RevokeWeak(ctx, tx, ada, stamp)
		})
		left, err := List(context.Background(), d.Reader(), ada.ID)
		if err != nil || len(left) != 1 || left[0].Name != "strong" {
			t.Fatalf("after an added authenticator the passes are %v, %v; want strong alone", left, err)
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE passes SET path = 'api'`)
			return err
		})
		if name, err := NameOf(context.Background(), d.Reader(), ada.ID, left[0].ID); err != nil || name != "strong" {
			t.Errorf("name of a pass whose path can't be read: %q, %v; want %q", name, err, "strong")
		}
	})
}

// A session may still have proofs that a wrong clock dated. A pass that is made in the session
// doesn't get them.
func TestPassGetsNoProofsOfTheFuture(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		p := samplePass(t, "backup")
		p.Proofs = nil
		for _, ahead := range []time.Duration{-time.Hour, 90 * time.Second, 91 * time.Second, 400 * 24 * time.Hour} {
			p.Proofs = append(p.Proofs, authenticator.Proof{Kind: authenticator.TOTP, ID: "phone", At: testkit.Start.Add(ahead).UTC()})
		}
		token, err := create(d, newOwner(t, d, "ada"), p)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := ByToken(t.Context(), d.Reader(), token, panel)
		if diff := cmp.Diff(p.Proofs[:2], got.Proofs); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	})
}

// A pass that was made while the clock was ahead keeps its level, but its proofs are never fresh:
// not now, and not when the right clock reaches their former times.
func TestClampTimesMakesProofsOfTheFutureOld(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const leap = 30 * 24 * time.Hour
		ada, now := newOwner(t, d, "ada"), testkit.Start
		latest := now.Add(90 * time.Second)
		madeAt := func(name string, at time.Time) string {
			p := samplePass(t, name)
			p.Proofs = []authenticator.Proof{{Kind: authenticator.Password, At: at}, {Kind: authenticator.TOTP, ID: "phone", At: now.Add(-time.Hour)}}
			p.ExpiresAt = at.Add(MaxLife)
			var token secret.Text
			write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				token, err = Create(ctx, tx, ada, p, at)
				return err
			})
			return token.Reveal()
		}
		future, edge, past := madeAt("future", now.Add(leap)), madeAt("edge", latest), madeAt("past", now.Add(-time.Minute))
		madeAt("unreadable", now.Add(leap))
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE passes SET proofs = 'smartcard::1' WHERE name = 'unreadable'`)
			return err
		})
		for range 2 {
			write(t, d, func(ctx context.Context, tx *db.Tx) error { return ClampTimes(ctx, tx, latest) })
		}
		proofs := func(token string) []authenticator.Proof {
			p, _, err := ByToken(t.Context(), d.Reader(), token, panel)
			if err != nil {
				t.Fatal(err)
			}
			return p.Proofs
		}
		got := proofs(future)
		if authenticator.AAL(got) != 2 || !got[1].At.Equal(now.Add(-time.Hour)) {
			t.Errorf("proofs of the future are now %v: a level or another date changed", got)
		}
		for _, at := range []time.Time{now, now.Add(leap), now.Add(leap + time.Minute), now.Add(MaxLife)} {
			b := access.Bearer{SignedIn: true, Proofs: got}
			if v := access.Check(access.Demand{Requirement: access.Session, MaxAge: 9 * time.Hour}, b, at); v != access.Reauthenticate {
				t.Errorf("at %v, a demand for a recent proof: verdict %d, want %d", at, v, access.Reauthenticate)
			}
		}
		if at := proofs(edge)[0].At; !at.Equal(latest) {
			t.Errorf("a proof of the latest time is dated %v now, want %v", at, latest)
		}
		if at := proofs(past)[0].At; !at.Equal(now.Add(-time.Minute)) {
			t.Errorf("a proof of the past is dated %v now, want %v", at, now.Add(-time.Minute))
		}
	})
}
