package totp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// write runs change in a transaction and returns its error.
func write(d *db.DB, change func(ctx context.Context, tx *db.Tx) error) error {
	ctx := context.Background()
	return d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) })
}

// enroll creates an account of that name with an authenticator.
func enroll(t *testing.T, d *db.DB, ring *secret.Ring, name string) authenticator.Authenticator {
	t.Helper()
	var a authenticator.Authenticator
	err := write(d, func(ctx context.Context, tx *db.Tx) error {
		owner, err := account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		if err != nil {
			return err
		}
		if a, err = authenticator.CreatePending(ctx, tx, owner.ID, "session of "+name, authenticator.TOTP, testkit.Start); err != nil {
			return err
		}
		return Create(ctx, tx, ring, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func load(t *testing.T, d *db.DB, ring *secret.Ring, a authenticator.Authenticator) State {
	t.Helper()
	s, err := Load(context.Background(), d.Reader(), ring, a)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claim(d *db.DB, id string, c Check) error {
	return write(d, func(ctx context.Context, tx *db.Tx) error { return Claim(ctx, tx, id, c, false, testkit.Start) })
}

func TestClaimStoresTheLastUse(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		used := func() time.Time {
			t.Helper()
			at, err := UsedAt(context.Background(), d.Reader(), a)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		claimAt := func(step int64, at time.Time) error {
			c := Check{Result: Accepted, Step: step, from: step}
			return write(d, func(ctx context.Context, tx *db.Tx) error { return Claim(ctx, tx, a.ID, c, false, at) })
		}
		if err := claimAt(1, time.Time{}); err != nil || !used().IsZero() {
			t.Errorf("after the enrolment: %v, last used at %v, want never", err, used())
		}
		if err := claimAt(2, testkit.Start); err != nil || !used().Equal(testkit.Start) {
			t.Errorf("after a code: %v, last used at %v, want %v", err, used(), testkit.Start)
		}
		if err := claimAt(2, testkit.Start.Add(time.Hour)); !errors.Is(err, ErrReused) || !used().Equal(testkit.Start) {
			t.Errorf("after a used code: %v, last used at %v, want %v", err, used(), testkit.Start)
		}
		// A node with an earlier version stores the last use with the authenticator.
		a.LastUsedAt = testkit.Start.Add(time.Minute)
		if !used().Equal(a.LastUsedAt) {
			t.Errorf("last used at %v, want %v", used(), a.LastUsedAt)
		}
		a.LastUsedAt = testkit.Start.Add(-time.Minute)
		if !used().Equal(testkit.Start) {
			t.Errorf("last used at %v, want %v", used(), testkit.Start)
		}
		a.ID = "gone"
		if !used().Equal(a.LastUsedAt) {
			t.Errorf("a removed authenticator was last used at %v, want %v", used(), a.LastUsedAt)
		}
	})
}

func TestCodeOpensOneDoorOnce(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		s := load(t, d, ring, a)
		if len(s.Secret) != SecretBytes || s.LastStep != 0 || s.Drift != 0 {
			t.Fatalf("new state: secret of %d bytes, last step %d, drift %d; want a whole secret, 0 and 0", len(s.Secret), s.LastStep, s.Drift)
		}
		check := s.Verify(CodeAt(s.Secret, testkit.Start), testkit.Start)
		got := testkit.Race(64, func(int) string { return testkit.Outcome(claim(d, a.ID, check)) })
		if got["ok"] != 1 || got[ErrReused.Error()] != 63 {
			t.Errorf("64 claims of one step (R7) = %v, want one ok and 63 ErrReused", got)
		}
		if s = load(t, d, ring, a); s.LastStep != here {
			t.Errorf("last step = %d, want %d", s.LastStep, here)
		}
		if got := s.Verify(CodeAt(s.Secret, testkit.Start), testkit.Start); got != (Check{Result: Reused}) {
			t.Errorf("the same code again = %+v, want Reused", got)
		}
		// The SQL statement of the claim refuses a check that was made before another claim.
		older := State{Secret: s.Secret, Parameters: Standard()}.Verify(CodeAt(s.Secret, testkit.Start.Add(-Period)), testkit.Start)
		if err := claim(d, a.ID, older); older.Result != Accepted || !errors.Is(err, ErrReused) {
			t.Errorf("claim of an older step: %+v, %v; want Accepted and ErrReused", older, err)
		}
		next := s.Verify(CodeAt(s.Secret, testkit.Start.Add(Period)), testkit.Start)
		if err := claim(d, a.ID, next); err != nil {
			t.Errorf("claim of the next step: %v, want no error", err)
		}
	})
}

func TestDifferentStepsRacedOpenNoOlderOne(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		s := load(t, d, ring, a)
		checks := make([]Check, 3)
		for i := range checks {
			checks[i] = s.Verify(CodeAt(s.Secret, testkit.Start.Add(time.Duration(i-1)*Period)), testkit.Start)
		}
		got := testkit.Race(30, func(i int) string { return testkit.Outcome(claim(d, a.ID, checks[i%3])) })
		if got["ok"] < 1 || got["ok"] > 3 || got["ok"]+got[ErrReused.Error()] != 30 {
			t.Errorf("30 claims of three steps = %v, want 1 to 3 ok and the others ErrReused", got)
		}
		if s := load(t, d, ring, a); s.LastStep != here+1 {
			t.Errorf("last step = %+d steps from now, want the newest, +1", s.LastStep-here)
		}
	})
}

func TestPairUsesUpBothSteps(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		s := load(t, d, ring, a)
		at := func(steps int) string { return CodeAt(s.Secret, testkit.Start.Add(time.Duration(steps)*Period)) }
		pair := s.VerifyPair(at(4), at(5), testkit.Start)
		single := State{Secret: s.Secret, Parameters: Standard(), Drift: 5}.Verify(at(5), testkit.Start)
		got := testkit.Race(64, func(int) string { return testkit.Outcome(claim(d, a.ID, pair)) })
		if got["ok"] != 1 || got[ErrReused.Error()] != 63 {
			t.Errorf("64 claims of one pair = %v, want one ok", got)
		}
		if err := claim(d, a.ID, single); !errors.Is(err, ErrReused) {
			t.Errorf("claim of the pair's second step alone: %v, want ErrReused", err)
		}
		s = load(t, d, ring, a)
		if s.LastStep != here+5 || s.Drift != 5 {
			t.Errorf("after the pair: last %+d, drift %d; want +5, 5", s.LastStep-here, s.Drift)
		}
		// The drift is learned: a phone two and a half minutes ahead is on time now.
		later := testkit.Start.Add(2 * Period)
		if got := s.Verify(CodeAt(s.Secret, later.Add(5*Period)), later); got.Result != Accepted || got.Drift != 5 {
			t.Errorf("next code of the phone that is ahead = %+v, want Accepted with drift 5", got)
		}
		// A pair that shares a step with a used pair is refused, even if its second step is
		// unused.
		overlap := State{Secret: s.Secret, Parameters: Standard()}.VerifyPair(at(5), at(6), testkit.Start)
		if err := claim(d, a.ID, overlap); overlap.Result != Accepted || !errors.Is(err, ErrReused) {
			t.Errorf("claim of an overlapping pair: %+v, %v; want Accepted and ErrReused", overlap, err)
		}
		// Two codes of a phone that is on time reset the drift.
		now := testkit.Start.Add(6 * Period)
		pair = s.VerifyPair(CodeAt(s.Secret, now), CodeAt(s.Secret, now.Add(Period)), now)
		if err := claim(d, a.ID, pair); err != nil {
			t.Fatalf("claim of a pair that is on time: %+v, %v; want no error", pair, err)
		}
		if s = load(t, d, ring, a); s.Drift != 0 {
			t.Errorf("drift = %d, want 0", s.Drift)
		}
	})
}

func TestOnlyAnAcceptedCheckIsClaimed(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		a := enroll(t, d, ring, "ada")
		for r := Wrong; r <= ClockChanged; r++ {
			if r == Accepted {
				continue
			}
			if err := claim(d, a.ID, Check{Result: r, Step: here, from: here}); err == nil {
				t.Errorf("Claim accepted a check with result %d", r)
			}
		}
		if s := load(t, d, ring, a); s.LastStep != 0 {
			t.Errorf("last step = %d, want none", s.LastStep)
		}
		if err := claim(d, "nobody's", Check{Result: Accepted, Step: here, from: here}); !errors.Is(err, ErrReused) {
			t.Errorf("claim for an unknown authenticator: %v, want ErrReused", err)
		}
	})
}

func TestSecretOpensOnlyForItsOwner(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		ada, eve := enroll(t, d, ring, "ada"), enroll(t, d, ring, "eve")

		// The whole row moved to another account (attack 142).
		stolen := ada
		stolen.AccountID = eve.AccountID
		if s, err := Load(ctx, d.Reader(), ring, stolen); !errors.Is(err, secret.ErrOpen) || s.Secret != nil {
			t.Errorf("ada's row under eve's account: %v, want ErrOpen", err)
		}
		// A missing key is an error, never an account without a second factor (F4).
		if s, err := Load(ctx, d.Reader(), secret.NewRing(), ada); !errors.Is(err, secret.ErrUnknownKey) || s.Secret != nil {
			t.Errorf("another key ring: %v, want ErrUnknownKey", err)
		}
		// Eve's sealed secret copied to ada's row.
		err := write(d, func(ctx context.Context, tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE totp SET secret = (SELECT secret FROM totp WHERE authenticator_id = $1) WHERE authenticator_id = $2`, eve.ID, ada.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(ctx, d.Reader(), ring, ada); !errors.Is(err, secret.ErrOpen) {
			t.Errorf("eve's secret in ada's row: %v, want ErrOpen", err)
		}
		if len(load(t, d, ring, eve).Secret) != SecretBytes {
			t.Error("eve's secret doesn't open in its own row")
		}
		if _, err := Load(ctx, d.Reader(), ring, authenticator.Authenticator{ID: "none", AccountID: ada.AccountID}); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("missing row: %v, want ErrNotFound", err)
		}
	})
}

func TestStoredSecretIsSealedAndDiesWithItsAuthenticator(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		a := enroll(t, d, ring, "ada")
		key := load(t, d, ring, a).Secret
		var stored []byte
		if err := db.One(ctx, d.Reader(), `SELECT secret FROM totp WHERE authenticator_id = $1`, []any{a.ID}, &stored); err != nil {
			t.Fatal(err)
		}
		for i := 0; i+4 <= len(key); i++ {
			for j := 0; j+4 <= len(stored); j++ {
				if string(key[i:i+4]) == string(stored[j:j+4]) {
					t.Fatal("the database has four bytes of the secret unsealed")
				}
			}
		}
		err := write(d, func(ctx context.Context, tx *db.Tx) error { return authenticator.RemoveAll(ctx, tx, a.AccountID) })
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM totp`, nil, &n); err != nil || n != 0 {
			t.Errorf("%d secrets left, %v; want 0", n, err)
		}
	})
}

func TestAThousandSecretsAreAllDifferent(t *testing.T) {
	t.Parallel()
	const n = 1000
	ctx, ring := context.Background(), secret.NewRing()
	d := testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))
	owner := enroll(t, d, ring, "ada").AccountID
	seen := map[string]bool{}
	err := d.Write(ctx, func(tx *db.Tx) error {
		for range n {
			a, err := authenticator.CreatePending(ctx, tx, owner, secret.NewID(), authenticator.TOTP, testkit.Start)
			if err != nil {
				return err
			}
			if err := Create(ctx, tx, ring, a); err != nil {
				return err
			}
			s, err := Load(ctx, tx, ring, a)
			if err != nil {
				return err
			}
			seen[string(s.Secret)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ones := 0
	for key := range seen {
		if len(key) != SecretBytes {
			t.Fatalf("secret of %d bytes (R29), want %d", len(key), SecretBytes)
		}
		for _, b := range []byte(key) {
			for ; b != 0; b &= b - 1 {
				ones++
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d secrets, of which %d are different", n, len(seen))
	}
	// 160,000 fair bits have 80,000 ones, within ten standard deviations of 200.
	if ones < 78_000 || ones > 82_000 {
		t.Errorf("%d of %d bits are ones, want about half", ones, n*SecretBytes*8)
	}
}
