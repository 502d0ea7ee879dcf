package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestUnreadableSessionsAreDenied(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ada := context.Background(), add(t, d, "ada")
		token := open(t, d, ada, testkit.Start)
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE sessions SET proofs = 'smartcard:x:1'`)
			return err
		})
		if s, _, err := ByToken(ctx, d.Reader(), token, life, testkit.Start); err == nil || s.ID != "" {
			t.Errorf("proof of an unknown kind (F3): %+v, %v; want an error", s, err)
		}
		// RevokeFuture doesn't fail on the unreadable session, and revokes it like every other
		// session that was used in the future.
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			if _, err := db.Exec(ctx, tx, `UPDATE sessions SET seen_at = $1`, db.At{Time: testkit.Start.Add(time.Hour)}); err != nil {
				return err
			}
			return RevokeFuture(ctx, tx, testkit.Start.Add(time.Minute))
		})
		if _, _, err := ByToken(ctx, d.Reader(), token, life, testkit.Start); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("an unreadable session that was used in the future, after the correction: %v, want ErrNotFound", err)
		}
		testkit.Check(t, d.Close())
		if s, owner, err := ByToken(ctx, d.Reader(), token, life, testkit.Start); !errors.Is(err, db.ErrUnavailable) || s.ID != "" || owner.ID != "" {
			t.Errorf("closed database (F1): %+v, %v; want ErrUnavailable", s, err)
		}
	})
}

// A reauthentication removes proofs of the session that a wrong clock dated in the future. They
// would be fresh again when the right clock reaches their dates.
func TestRenewDropsProofsOfTheFuture(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		token := open(t, d, ada, testkit.Start)
		at := func(id string, after time.Duration) authenticator.Proof {
			return authenticator.Proof{Kind: authenticator.TOTP, ID: id, At: testkit.Start.Add(after).UTC()}
		}
		kept := []authenticator.Proof{at("a", -time.Hour), at("b", 0), at("c", 90*time.Second)}
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			held := sessionOf(t, d, token, testkit.Start)
			renewed, err := Renew(ctx, tx, *held, Renewal{Old: token, Stamp: ada.Stamp, Proofs: append(kept[:3:3], at("d", 91*time.Second), at("e", 400*24*time.Hour))}, testkit.Start)
			token = renewed.Reveal()
			return err
		})
		if diff := cmp.Diff(kept, sessionOf(t, d, token, testkit.Start).Proofs); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// A sign-in or fresh proof can renew an older session. Then only the times of the proofs show that
// the clock was ahead.
func TestRevokeFutureEndsSessionsWithLaterProofs(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := add(t, d, "ada")
		latest := testkit.Start.Add(90 * time.Second)
		for ahead, want := range map[time.Duration]bool{0: true, time.Millisecond: false, time.Hour: false, 400 * 24 * time.Hour: false} {
			token := open(t, d, ada, testkit.Start)
			held := sessionOf(t, d, token, testkit.Start)
			write(t, d, func(ctx context.Context, tx *db.Tx) error {
				at := latest.Add(ahead)
				later := []authenticator.Proof{{Kind: authenticator.Password, At: testkit.Start}, {Kind: authenticator.TOTP, ID: "phone", At: at}}
				renewed, err := Renew(ctx, tx, *held, Renewal{Old: token, Stamp: ada.Stamp, Proofs: later}, at)
				token = renewed.Reveal()
				return err
			})
			write(t, d, func(ctx context.Context, tx *db.Tx) error { return RevokeFuture(ctx, tx, latest) })
			if got := sessionOf(t, d, token, testkit.Start) != nil; got != want {
				t.Errorf("a session with a proof %v after the latest time is there: %t, want %t", ahead, got, want)
			}
		}
	})
}
