package login

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

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
			}, Browser{})
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
