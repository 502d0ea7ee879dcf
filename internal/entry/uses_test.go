package entry

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
)

// createSessions creates an account with n sessions at [testkit.Start].
func createSessions(t *testing.T, d *db.DB, n int) (owner account.Account, held []session.Session) {
	t.Helper()
	life := session.Life{Idle: 24 * time.Hour, Absolute: 24 * time.Hour}
	err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
		if owner, err = account.Create(t.Context(), tx, account.Account{Name: "ada"}, testkit.Start); err != nil {
			return err
		}
		proofs := []authenticator.Proof{{Kind: authenticator.Password, ID: owner.ID, At: testkit.Start}}
		for range n {
			if _, err := session.Create(t.Context(), tx, owner, session.Opening{Proofs: proofs, Life: life}, testkit.Start); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		held, err = session.List(t.Context(), d.Reader(), owner, life, testkit.Start)
	}
	if err != nil || len(held) != n {
		t.Fatalf("%d sessions, %v; want %d", len(held), err, n)
	}
	return owner, held
}

// seenAfter returns the session's last use, counted from [testkit.Start].
func seenAfter(t *testing.T, d *db.DB, id string) time.Duration {
	t.Helper()
	var at db.At
	if err := db.One(context.Background(), d.Reader(), `SELECT seen_at FROM sessions WHERE id = $1`, []any{id}, &at); err != nil {
		t.Fatal(err)
	}
	return at.Sub(testkit.Start)
}

func TestUsesAreGatheredAndWrittenTogether(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		_, held := createSessions(t, d, 3)
		clock := testkit.NewClock()
		s := &Service{DB: d, Clock: clock.Now}
		written := func(when string, want ...time.Duration) {
			t.Helper()
			for i, one := range held {
				if got := seenAfter(t, d, one.ID); got != want[i] {
					t.Errorf("%s: session %d was used after %v, want %v", when, i, got, want[i])
				}
			}
		}
		write := func() {
			t.Helper()
			if err := s.WriteUses(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		clock.Move(time.Minute - time.Millisecond)
		s.NoteSessionUse(held[0])
		write()
		written("within the minute", 0, 0, 0)
		clock.Move(time.Minute)
		s.NoteSessionUse(held[0])
		s.NoteSessionUse(held[1])
		clock.Move(time.Second)
		s.NoteSessionUse(held[1])
		clock.Move(-10 * time.Second)
		s.NoteSessionUse(held[1]) // with the clock set back, the last use stays
		written("not yet", 0, 0, 0)
		write()
		first, second := 2*time.Minute-time.Millisecond, 2*time.Minute+time.Second-time.Millisecond
		written("written", first, second, 0)
		write()
		written("and forgotten", first, second, 0)
	})
}

// A transaction that ends sessions holds their rows in any order. WriteUses must neither
// wait for it nor make it wait. SQLite has only one writer.
func TestWriteUsesTakesNoLockedRow(t *testing.T) {
	t.Parallel()
	d := testkit.Open(t, testkit.DatabaseURL(t, "postgres"))
	owner, held := createSessions(t, d, 3)
	clock := testkit.NewClock()
	clock.Move(time.Hour)
	s := &Service{DB: d, Clock: clock.Now}
	for _, one := range held {
		s.NoteSessionUse(one)
	}
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		if _, err := session.Revoke(t.Context(), tx, owner.ID, held[1].ID); err != nil {
			return err
		}
		return s.WriteUses(t.Context()) // on another connection
	})
	if err != nil {
		t.Fatal(err)
	}
	if seenAfter(t, d, held[0].ID) != time.Hour || seenAfter(t, d, held[2].ID) != time.Hour {
		t.Error("the last uses of the other sessions weren't written")
	}
}
