package totp

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// setParameters changes the parameters of a row as an import would have stored them.
func setParameters(ctx context.Context, tx *db.Tx, id, algorithm string, digits, seconds int64) error {
	_, err := db.Exec(ctx, tx, `UPDATE totp SET algorithm = $2, digits = $3, period = $4 WHERE authenticator_id = $1`, id, algorithm, digits, seconds)
	return err
}

// enrollWith is enroll with other parameters than those of new authenticators.
func enrollWith(t *testing.T, d *db.DB, ring *secret.Ring, name string, p Parameters) authenticator.Authenticator {
	t.Helper()
	a := enroll(t, d, ring, name)
	err := write(d, func(ctx context.Context, tx *db.Tx) error {
		return setParameters(ctx, tx, a.ID, string(p.Algorithm), int64(p.Digits), int64(p.Period/time.Second))
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestUnsupportedParametersAreDenied(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		a := enroll(t, d, ring, "ada")
		for _, bad := range unsupported {
			rollback := errors.New("put it back")
			err := write(d, func(_ context.Context, tx *db.Tx) error {
				if err := setParameters(ctx, tx, a.ID, bad.algorithm, bad.digits, bad.seconds); err != nil {
					return err
				}
				if s, err := Load(ctx, tx, ring, a); err == nil || s.Secret != nil {
					t.Errorf("%v (F3): loaded, err %v; want an error and no secret", bad, err)
				}
				if p, err := ReadParameters(ctx, tx, a.ID); err != nil || p != (Parameters{}) {
					t.Errorf("%v: read as %+v, %v; want none", bad, p, err)
				}
				// Such a row doesn't affect other rows.
				if _, err := BringBack(ctx, tx, testkit.Start); err != nil {
					t.Errorf("%v: BringBack: %v, want no error", bad, err)
				}
				if err := EndSteps(ctx, tx, testkit.Start, testkit.Start.Add(time.Hour)); err != nil {
					t.Errorf("%v: EndSteps: %v, want no error", bad, err)
				}
				return rollback
			})
			if !errors.Is(err, rollback) {
				t.Fatalf("%v: %v, want only the rollback", bad, err)
			}
		}
		load(t, d, ring, a)
		if _, err := ReadParameters(ctx, d.Reader(), "none"); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("parameters of a missing row: %v, want ErrNotFound", err)
		}
	})
}

// TestEachPeriodCountsItsOwnSteps takes rows with all parameters through the life of their steps:
// claimed once, learned drift, a restore, and a clock that was ahead.
func TestEachPeriodCountsItsOwnSteps(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		for i, p := range everyParameters() {
			a := enrollWith(t, d, ring, fmt.Sprint("ada", i), p)
			if got, err := ReadParameters(context.Background(), d.Reader(), a.ID); err != nil || got != p {
				t.Errorf("parameters %+v are read as %+v, %v; want them unchanged", p, got, err)
			}
			// at returns the code of a step, counted from the first one, and its time.
			at := func(step int64) (string, time.Time) {
				when := testkit.Start.Add(time.Duration(step) * p.Period)
				return p.CodeAt(load(t, d, ring, a).Secret, when), when
			}
			expect := func(what string, check Check, want Result) {
				t.Helper()
				if check.Result != want {
					t.Errorf("%v, %s: %+v, want result %d", p, what, check, want)
				}
				if check.Result != Accepted {
					return
				}
				got := testkit.Race(8, func(int) string {
					return testkit.Outcome(claim(d, a.ID, check))
				})
				if got["ok"] != 1 || got[ErrReused.Error()] != 7 {
					t.Errorf("%v, %s: 8 claims = %v, want one ok", p, what, got)
				}
			}
			code, now := at(0)
			s := load(t, d, ring, a)
			if s.Parameters != p {
				t.Fatalf("loaded %+v, want %+v", s.Parameters, p)
			}
			expect("first code", s.Verify(code, now), Accepted)
			expect("the same again", load(t, d, ring, a).Verify(code, now), Reused)
			older, _ := at(-1)
			expect("the one before", load(t, d, ring, a).Verify(older, now), Reused)

			// Two codes in a row of a phone that is four steps ahead.
			first, _ := at(4)
			second, _ := at(5)
			expect("a pair", load(t, d, ring, a).VerifyPair(first, second, now), Accepted)
			if s := load(t, d, ring, a); s.Drift != 5 || s.LastStep != Step(now, p.Period)+5 {
				t.Errorf("%v: after the pair, drift %d and last step %+d; want 5 and +5", p, s.Drift, s.LastStep-Step(now, p.Period))
			}
			fast, _ := at(5 + 10)
			_, later := at(10)
			expect("a code with the learned drift", load(t, d, ring, a).Verify(fast, later), Accepted)

			// A restore uses up all steps that may have been used since the backup.
			_, now = at(100)
			err := write(d, func(ctx context.Context, tx *db.Tx) error { return EndSteps(ctx, tx, now, now) })
			if err != nil {
				t.Fatal(err)
			}
			code, _ = at(100 + 5)
			expect("after a restore", load(t, d, ring, a).Verify(code, now), Reused)
			code, later = at(102 + 5)
			expect("after a restore, two steps later", load(t, d, ring, a).Verify(code, later.Add(-5*p.Period)), Accepted)

			// The clock was ahead by a year.
			ahead := int64(365*24*time.Hour/p.Period) + 200
			code, later = at(ahead + 5)
			expect("a code of a year later", load(t, d, ring, a).Verify(code, later.Add(-5*p.Period)), Accepted)
			_, now = at(200)
			lowered := 0
			err = write(d, func(ctx context.Context, tx *db.Tx) (err error) {
				lowered, err = BringBack(ctx, tx, now.Add(-3*p.Period))
				return err
			})
			if err != nil || lowered != 1 {
				t.Errorf("%v: BringBack = %d, %v; want 1", p, lowered, err)
			}
			own, _ := at(200 + 5)
			expect("a code of now", load(t, d, ring, a).Verify(own, now), Accepted)
			expect("the code of a year later, in its time", load(t, d, ring, a).Verify(code, later.Add(-5*p.Period)), Reused)

			// The next round has another period: its EndSteps and BringBack mustn't find this row.
			if err := write(d, func(ctx context.Context, tx *db.Tx) error { return authenticator.RemoveAll(ctx, tx, a.AccountID) }); err != nil {
				t.Fatal(err)
			}
		}
	})
}
