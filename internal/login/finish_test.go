package login

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Only a sign-in opens a session. An attempt with a purpose that this version doesn't know
// ends in an error, whatever was proven.
func TestOnlyKnownPurposesOpenASession(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		clock := func() time.Time { return testkit.Start }
		s := &Service{DB: d, Clock: clock, Life: session.Life{Idle: time.Hour, Absolute: time.Hour}}
		var ada account.Account
		err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
			ada, err = account.Create(t.Context(), tx, account.Account{Name: "ada"}, testkit.Start)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		sessions := func() (n int) {
			t.Helper()
			if err := db.One(t.Context(), d.Reader(), `SELECT COUNT(*) FROM sessions`, nil, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		proofs := []authenticator.Proof{{Kind: authenticator.Password, At: testkit.Start}, {Kind: authenticator.TOTP, ID: "a", At: testkit.Start}}
		for _, purpose := range []Purpose{"verification", "", "SIGN_IN", Reauthentication, SignIn} {
			for name, end := range map[string]func(context.Context, *db.Tx, Attempt) (Opened, error){
				"finish": func(ctx context.Context, tx *db.Tx, a Attempt) (Opened, error) {
					return s.finish(ctx, tx, a, ada, Browser{})
				},
				"advance": func(ctx context.Context, tx *db.Tx, a Attempt) (Opened, error) {
					progress, err := s.advance(ctx, tx, a, ada, Browser{})
					return progress.Opened, err
				},
			} {
				before := sessions()
				var opened Opened
				err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
					opened, err = end(t.Context(), tx, Attempt{AccountID: ada.ID, Stamp: ada.Stamp, Purpose: purpose, Proofs: proofs})
					return err
				})
				isOpened := err == nil && sessions() == before+1 && opened.Session.Reveal() != "" && opened.Device.Reveal() != ""
				isRefused := err != nil && sessions() == before && opened == Opened{}
				switch {
				case purpose == SignIn && !isOpened:
					t.Errorf("%s of a sign-in opened no session: %v, want one", name, err)
				case purpose != SignIn && !isRefused:
					t.Errorf("%s for purpose %q: %v; %d sessions before, %d after; want an error and no new session", name, purpose, err, before, sessions())
				case purpose == Reauthentication && !errors.Is(err, ErrNoAttempt):
					t.Errorf("%s of a reauthentication without its session: %v, want ErrNoAttempt", name, err)
				}
			}
		}
	})
}

// An attempt begins with a right password, so one whose proofs lack it is broken. It isn't
// stored for another try.
func TestAnAttemptWithoutAFirstProofFails(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		s := &Service{DB: d, Clock: func() time.Time { return testkit.Start }}
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			ada, err := account.Create(t.Context(), tx, account.Account{Name: "ada"}, testkit.Start)
			if err != nil {
				return err
			}
			progress, err := s.advance(t.Context(), tx, Attempt{
				AccountID: ada.ID, Stamp: ada.Stamp, Purpose: SignIn,
				Proofs: []authenticator.Proof{{Kind: authenticator.WebAuthn, ID: "a", At: testkit.Start}},
			}, ada, Browser{})
			if err == nil || progress.Attempt.Reveal() != "" {
				t.Errorf("advance = %+v, %v; want an error", progress, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// If two-factor authentication is turned on while the password of a reauthentication is verified,
// the password alone proves too little. No attempt is stored, and the session stays as it is.
func TestAReauthenticationThatProvesTooLittleFails(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		s := &Service{DB: d, Clock: func() time.Time { return testkit.Start }}
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			ctx := t.Context()
			ada, err := account.Create(ctx, tx, account.Account{Name: "ada"}, testkit.Start)
			if err != nil {
				return err
			}
			phone, err := authenticator.CreatePending(ctx, tx, ada.ID, "session", authenticator.TOTP, testkit.Start)
			if err != nil {
				return err
			}
			if err := authenticator.Confirm(ctx, tx, "session", phone, testkit.Start); err != nil {
				return err
			}
			progress, err := s.advance(ctx, tx, Attempt{
				AccountID: ada.ID, Stamp: ada.Stamp, Purpose: Reauthentication, SessionID: "session",
				Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: testkit.Start}},
			}, ada, Browser{})
			if !errors.Is(err, ErrNoAttempt) || progress.Attempt.Reveal() != "" {
				t.Errorf("advance = %+v, %v; want ErrNoAttempt", progress, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
