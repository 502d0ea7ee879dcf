package totp

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// claimUnsure is claim with a clock that may be ahead.
func claimUnsure(d *db.DB, id string, c Check) error {
	return write(d, func(ctx context.Context, tx *db.Tx) error { return Claim(ctx, tx, id, c, true, testkit.Start) })
}

// Some requests run while the clock is unsure, and some after it was found right.
func TestCodeOpensOneDoorOnceWhileTheClockIsUnsure(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		s := load(t, d, ring, a)
		for round := range 6 {
			now := testkit.Start.Add(time.Duration(2*round) * Period)
			check := s.Verify(CodeAt(s.Secret, now), now)
			if round%2 == 1 {
				check = s.VerifyPair(CodeAt(s.Secret, now.Add(-Period)), CodeAt(s.Secret, now), now)
			}
			got := testkit.Race(32, func(i int) string {
				if i%2 == 0 {
					return testkit.Outcome(claim(d, a.ID, check))
				}
				return testkit.Outcome(claimUnsure(d, a.ID, check))
			})
			if got["ok"] != 1 || got[ErrReused.Error()] != 31 {
				t.Errorf("round %d: 32 claims of one step = %v, want one ok", round, got)
			}
			s = load(t, d, ring, a)
			if got := s.Verify(CodeAt(s.Secret, now), now); got != (Check{Result: Reused}) {
				t.Errorf("round %d: the same code again = %+v; want Reused", round, got)
			}
			if got := s.Verify(CodeAt(s.Secret, now.Add(-Period)), now); got != (Check{Result: Reused}) {
				t.Errorf("round %d: the code of the step before = %+v; want Reused", round, got)
			}
		}
	})
}

func TestACodeOfALeapLocksNobodyOutAfterwards(t *testing.T) {
	for _, leap := range []time.Duration{15 * time.Minute, 2 * time.Hour, 400 * 24 * time.Hour} {
		for _, believed := range []bool{false, true} {
			t.Run(fmt.Sprint(leap, " believed ", believed), func(t *testing.T) {
				t.Parallel()
				testkit.Each(t, func(t *testing.T, d *db.DB) {
					ring := secret.NewRing()
					a := enroll(t, d, ring, "ada")
					s := load(t, d, ring, a)
					ahead := testkit.Start.Add(leap)
					check := s.Verify(CodeAt(s.Secret, ahead), ahead)
					now := testkit.Start.Add(2 * Period)
					if believed { // an earlier version of the program, or a clock that was ahead for hours
						if err := claim(d, a.ID, check); err != nil {
							t.Fatal(err)
						}
						err := write(d, func(ctx context.Context, tx *db.Tx) error {
							n, err := BringBack(ctx, tx, testkit.Start)
							if n != 1 {
								t.Errorf("BringBack lowered %d steps, want 1", n)
							}
							return err
						})
						if err != nil {
							t.Fatal(err)
						}
					} else if err := claimUnsure(d, a.ID, check); err != nil {
						t.Fatal(err)
					}
					s = load(t, d, ring, a)
					if got := s.Verify(CodeAt(s.Secret, ahead), ahead); got.Result != Reused {
						t.Errorf("the code of the leap, at its own time: %+v; want Reused", got)
					}
					first := s.Verify(CodeAt(s.Secret, now), now)
					if err := claim(d, a.ID, first); first.Result != Accepted || err != nil {
						t.Fatalf("first code after the leap: %+v, %v; want Accepted", first, err)
					}
					s = load(t, d, ring, a)
					// The time of the leap's code comes and passes.
					if got := s.Verify(CodeAt(s.Secret, ahead), ahead); got.Result != Reused {
						t.Errorf("the code of the leap again: %+v, want Reused", got)
					}
					if err := claim(d, a.ID, check); !errors.Is(err, ErrReused) {
						t.Errorf("claim of the leap's step: %v, want ErrReused", err)
					}
					later := ahead.Add(Period)
					next := s.Verify(CodeAt(s.Secret, later), later)
					if err := claim(d, a.ID, next); next.Result != Accepted || err != nil {
						t.Errorf("the code after it: %+v, %v; want Accepted", next, err)
					}
				})
			})
		}
	}
}

// A server starts with its clock far ahead. The clock is corrected in part, and a code is
// accepted while the clock is still unsure.
func TestAnUnsureClaimKeepsTheLaterStep(t *testing.T) {
	const weeks = 21 * 24 * time.Hour
	for name, ahead := range map[string]time.Duration{"hours": weeks + 2*time.Hour, "a year": weeks + 400*24*time.Hour} {
		t.Run(name, func(t *testing.T) {
			testkit.Each(t, func(t *testing.T, d *db.DB) {
				ring := secret.NewRing()
				a := enroll(t, d, ring, "ada")
				verify := func(at time.Duration) Check {
					s := load(t, d, ring, a)
					return s.Verify(CodeAt(s.Secret, testkit.Start.Add(at)), testkit.Start.Add(at))
				}
				for _, at := range []time.Duration{ahead, weeks, weeks + time.Minute} {
					check := verify(at)
					if check.Result != Accepted {
						t.Fatalf("%v ahead: %+v; want Accepted", at, check)
					}
					count := testkit.Race(4, func(int) string {
						err := claimUnsure(d, a.ID, check)
						if errors.Is(err, ErrReused) {
							return "reused"
						}
						return testkit.Outcome(err)
					})
					if count["ok"] != 1 || count["reused"] != 3 {
						t.Errorf("%v ahead: outcomes %v; want 1 ok and 3 reused", at, count)
					}
				}
				for _, at := range []time.Duration{weeks + time.Minute, weeks, ahead} {
					if got := verify(at); got.Result != Reused {
						t.Errorf("the code %v ahead, again: %+v; want Reused", at, got)
					}
				}
				// The clock is corrected completely.
				now := time.Minute
				if err := write(d, func(ctx context.Context, tx *db.Tx) error {
					_, err := BringBack(ctx, tx, testkit.Start.Add(now-3*window*Period))
					return err
				}); err != nil {
					t.Fatal(err)
				}
				if got := verify(now); got.Result != Accepted {
					t.Errorf("a code with the right clock: %+v, want Accepted", got)
				}
				if got := verify(ahead); got.Result != Reused {
					t.Errorf("the code %v ahead, at its own time: %+v; want Reused", ahead, got)
				}
			})
		})
	}
}

// A pair may be ten steps off in either direction, so an older pair must not be accepted after
// a newer one.
func TestAPairIsUsedUpWhileTheClockIsUnsure(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		s := load(t, d, ring, a)
		at := func(steps int) string { return CodeAt(s.Secret, testkit.Start.Add(time.Duration(steps)*Period)) }
		old := s.VerifyPair(at(-10), at(-9), testkit.Start)
		newest := s.VerifyPair(at(9), at(10), testkit.Start)
		if old.Result != Accepted || newest.Result != Accepted {
			t.Fatalf("pairs: %+v, %+v; want both Accepted", old, newest)
		}
		if err := claimUnsure(d, a.ID, newest); err != nil {
			t.Fatal(err)
		}
		if err := claimUnsure(d, a.ID, old); !errors.Is(err, ErrReused) {
			t.Errorf("claim of an older pair: %v, want ErrReused", err)
		}
		if err := claim(d, a.ID, old); !errors.Is(err, ErrReused) {
			t.Errorf("claim of an older pair after the clock was found right: %v, want ErrReused", err)
		}
		if got := load(t, d, ring, a).VerifyPair(at(-10), at(-9), testkit.Start); got.Result == Accepted {
			t.Errorf("VerifyPair of the older pair: %+v, want it refused", got)
		}
	})
}
