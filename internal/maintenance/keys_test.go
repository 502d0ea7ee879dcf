package maintenance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// keysOf makes a database on the engine with the given number of accounts, and opens it
// with its keys.
func keysOf(t *testing.T, engine string, accounts int) (*Keys, Database) {
	t.Helper()
	ctx := context.Background()
	from := secret.Source{Path: filepath.Join(t.TempDir(), "keyring")}
	ring, err := secret.CreateRing(from.Path)
	if err != nil {
		t.Fatal(err)
	}
	database := Database{URL: testkit.DatabaseURL(t, engine)}
	phc, err := password.Hash(testkit.Quick, "a password of everybody")
	if err != nil {
		t.Fatal(err)
	}
	err = testkit.Open(t, database.URL).Write(ctx, func(tx *db.Tx) error {
		for i := range accounts {
			a, err := account.Create(ctx, tx, account.Account{Name: fmt.Sprintf("name%d", i)}, testkit.Start)
			if err != nil {
				return err
			}
			if err := password.Set(ctx, tx, ring, a.ID, phc, testkit.Start); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeys(ctx, database, from, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	keys.pause = noPause // no server runs
	t.Cleanup(func() { keys.Close() })
	return keys, database
}

func noPause(context.Context) error { return nil }

func TestRotationThatWasKilledGoesOn(t *testing.T) {
	const accounts = 3*secret.SealedBatch - 1
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			keys, _ := keysOf(t, engine, accounts)
			if _, err := keys.Add(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The first run is killed during its second batch. PostgreSQL keeps what the run has
			// stored by then.
			passwords := sealedColumn{"passwords.phc", password.Sealed, nil}
			ctx, kill := context.WithCancel(context.Background())
			done := 0
			passwords.reseal = func(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error) {
				if done++; done == secret.SealedBatch+10 {
					kill()
				}
				return password.Reseal(ctx, tx, old, resealed)
			}
			sealed, err := keys.rotate(ctx, []sealedColumn{passwords})
			want := secret.SealedBatch
			if engine == "postgres" {
				want += 9
			}
			if err == nil || sealed != want {
				t.Fatalf("killed run: %d, %v; want %d and an error", sealed, err, want)
			}
			ctx = context.Background()
			if _, err := keys.RemoveOldKeys(ctx); !errors.Is(err, ErrInUse) {
				t.Fatalf("dropping keys that are in use: %v, want ErrInUse", err)
			}
			if n, err := keys.Rotate(ctx); err != nil || n != accounts-sealed {
				t.Errorf("second run: %d, %v; want the rest, %d", n, err, accounts-sealed)
			}
			if n, err := keys.Rotate(ctx); err != nil || n != 0 {
				t.Errorf("third run: %d, %v; want nothing to do", n, err)
			}
			if n, err := keys.RemoveOldKeys(ctx); err != nil || n != 1 {
				t.Errorf("dropped %d keys, %v; want 1", n, err)
			}
			found, err := keys.Check(ctx)
			if err != nil || len(found.Closed) != 0 || found.ByKey[keys.Sealing()] != accounts {
				t.Errorf("check: %+v, %v; want %d secrets under %s", found, err, accounts, keys.Sealing())
			}
		})
	}
}

// Owners replace their backup codes while a rotation seals them again, without deadlocks.
// SQLite has one writer and can't deadlock.
func TestRotationAndOwnersDontWaitForEachOther(t *testing.T) {
	t.Parallel()
	const owners = 10
	ctx := t.Context()
	keys, database := keysOf(t, "postgres", 0)
	d, err := database.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var sets []backupcode.Set
	for range owners {
		sets = append(sets, backupcode.NewSet(testkit.Quick))
	}
	ring := keys.Ring // the ring of a node that doesn't have the new keys yet
	var ids []string
	issue := func(i int) error {
		return d.Write(ctx, func(tx *db.Tx) error { return backupcode.Issue(ctx, tx, ring, ids[i], sets[i], testkit.Start) })
	}
	for i := range owners {
		err := d.Write(ctx, func(tx *db.Tx) error {
			a, err := account.Create(ctx, tx, account.Account{Name: fmt.Sprint("ada", i)}, testkit.Start)
			ids = append(ids, a.ID)
			return err
		})
		if err == nil {
			err = issue(i)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var over atomic.Bool
	var owning sync.WaitGroup
	for i := range owners {
		owning.Go(func() {
			for !over.Load() {
				if err := issue(i); err != nil {
					t.Errorf("new codes: %v, want no error", err)
					return
				}
			}
		})
	}
	for range 10 {
		if _, err := keys.Add(ctx); err != nil {
			t.Error(err)
		}
		if _, err := keys.Rotate(ctx); err != nil {
			t.Errorf("rotate: %v, want no error", err)
		}
	}
	over.Store(true)
	owning.Wait()
}

// F4: a secret that can't be opened stays in the database, is reported, and prevents the removal
// of old keys.
func TestSecretThatDoesNotOpenIsNamedAndKept(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			keys, _ := keysOf(t, engine, 3)
			if _, err := keys.Add(t.Context()); err != nil {
				t.Fatal(err)
			}
			all, err := password.Sealed(ctx, keys.DB.Reader(), "")
			if err != nil {
				t.Fatal(err)
			}
			changed := append([]byte(nil), all[1].Bytes...)
			changed[len(changed)-1] ^= 1
			err = keys.DB.Write(ctx, func(tx *db.Tx) error {
				if _, err := password.Reseal(ctx, tx, all[1], changed); err != nil {
					return err
				}
				_, err := password.Reseal(ctx, tx, all[2], secret.NewRing().Seal(all[2].Place, nil))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := keys.Rotate(ctx); n != 1 || err != nil {
				t.Errorf("the rotation sealed %d secrets, %v; want 1", n, err)
			}
			found, err := keys.Check(ctx)
			if err != nil || len(found.Closed) != 2 || found.ByKey[keys.Sealing()] != 1 {
				t.Fatalf("check: %+v, %v; want 2 secrets that don't open and 1 that does", found, err)
			}
			for i, want := range []error{secret.ErrOpen, secret.ErrUnknownKey} {
				if got := found.Closed[i]; got.Row != all[i+1].ID || !errors.Is(got.Reason, want) {
					t.Errorf("a secret that doesn't open: %+v, want row %s and the reason %v", got, all[i+1].ID, want)
				}
			}
			if _, err := keys.RemoveOldKeys(ctx); !errors.Is(err, ErrInUse) {
				t.Errorf("drop: %v, want ErrInUse", err)
			}
		})
	}
}

// If the owner changes a secret after the rotation has read it, the rotation keeps the new one.
func TestRotationUndoesNoChange(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			keys, _ := keysOf(t, engine, 1)
			all, err := password.Sealed(ctx, keys.DB.Reader(), "")
			if err != nil {
				t.Fatal(err)
			}
			err = keys.DB.Write(ctx, func(tx *db.Tx) error {
				return password.Set(ctx, tx, keys.Ring, all[0].ID, secret.NewText("the owner's new one"), testkit.Start)
			})
			if err != nil {
				t.Fatal(err)
			}
			err = keys.DB.Write(ctx, func(tx *db.Tx) error {
				changed, err := password.Reseal(ctx, tx, all[0], []byte("of before"))
				if changed {
					t.Error("the rotation replaced the new password by the old one")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
