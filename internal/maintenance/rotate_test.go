package maintenance_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Sign-ins succeed while the keys change, and afterwards no secret is sealed under the old key.
func TestRotationBesideARunningServer(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			p := portal.Start(t, engine)
			for i := range 20 {
				p.AddAccount(t, fmt.Sprintf("name%d", i))
			}
			owner := p.Browser(t)
			owner.SignIn("name0")
			owner.Enroll("phone")
			if _, err := secret.AddKey(t.Context(), secret.Source{Path: filepath.Join(p.Dir, "keyring")}); err != nil {
				t.Fatal(err)
			}
			mac := p.Login.Ring.MAC("name", "nobody")
			// The server knows the key as a spare one before it rotates.
			owner.Post("/settings/security/backup-codes")

			keys, err := p.OpenKeys(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			done := make(chan error, 1)
			resealed := 0
			go func() {
				var err error
				resealed, err = keys.Rotate(ctx)
				done <- err
			}()
			signIns := 0
			for rotating := true; rotating; signIns++ {
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					rotating = false // one more sign-in after the rotation
				default:
				}
				p.Browser(t).SignIn(fmt.Sprintf("name%d", 1+signIns%19))
			}
			if a := owner.Post("/settings/security/backup-codes"); a.Status != 200 {
				t.Errorf("new backup codes: status %d, redirect to %q, want 200", a.Status, a.Location)
			}
			found, err := keys.Check(ctx)
			if err != nil || len(found.Closed) > 0 || len(found.ByKey) != 1 || found.ByKey[keys.Sealing()] != 31 {
				t.Errorf("after %d sign-ins: %+v, %v; want 31 secrets under %s", signIns, found, err, keys.Sealing())
			}
			if string(p.Login.Ring.MAC("name", "nobody")) != string(mac) {
				t.Error("rows of names that don't exist moved in the ledger")
			}
			if n, err := keys.RemoveOldKeys(ctx); n != 1 || err != nil {
				t.Errorf("dropped %d keys, %v; want 1", n, err)
			}
			p.Browser(t).SignIn("name1")
			t.Logf("%d secrets were sealed anew beside %d sign-ins", resealed, signIns)
		})
	}
}
