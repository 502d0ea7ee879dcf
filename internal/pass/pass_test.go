package pass

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

const panel = "https://panel.example.com"

func write(t *testing.T, d *db.DB, change func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	ctx := context.Background()
	if err := d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) }); err != nil {
		t.Fatal(err)
	}
}

func newOwner(t *testing.T, d *db.DB, name string) (a account.Account) {
	t.Helper()
	write(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
		return err
	})
	return a
}

// samplePass returns a pass with all fields set.
func samplePass(t *testing.T, name string) Pass {
	t.Helper()
	scope, err := access.NewScope(panel, "/api/", "GET, POST", "192.0.2.7, 10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	return Pass{Name: name, Scope: scope, Proofs: []authenticator.Proof{{Kind: authenticator.Password, At: testkit.Start}}, ExpiresAt: testkit.Start.Add(time.Hour)}
}

func create(d *db.DB, a account.Account, p Pass) (token string, err error) {
	ctx := context.Background()
	var text secret.Text
	err = d.Write(ctx, func(tx *db.Tx) (err error) {
		text, err = Create(ctx, tx, a, p, testkit.Start)
		return err
	})
	return text.Reveal(), err
}

func isFound(t *testing.T, d *db.DB, token, panel string) bool {
	t.Helper()
	p, _, err := ByToken(context.Background(), d.Reader(), token, panel)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
	return p.ID != ""
}

func TestPassIsFoundByItsWholeTokenAndNothingElse(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := newOwner(t, d, "ada")
		want := samplePass(t, "backup")
		token, err := create(d, ada, want)
		if err != nil || !strings.HasPrefix(token, access.PassPrefix) || !secret.IsToken(strings.TrimPrefix(token, access.PassPrefix)) {
			t.Fatalf("Create: token %q, %v; want a token after %s", token, err, access.PassPrefix)
		}
		got, holder, err := ByToken(context.Background(), d.Reader(), token, panel)
		if err != nil || holder.ID != ada.ID {
			t.Fatalf("ByToken: account %+v, %v; want ada", holder, err)
		}
		want.AccountID, want.Stamp, want.CreatedAt = ada.ID, ada.Stamp, testkit.Start
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Pass{}, "ID"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("pass (-want +got):\n%s", diff)
		}
		var stored []byte
		if err := db.One(context.Background(), d.Reader(), `SELECT token_hash FROM passes`, nil, &stored); err != nil {
			t.Fatal(err)
		}
		for what, other := range map[string]string{
			"shortened": token[:len(token)-1], "lengthened": token + "A", "without its prefix": token[len(access.PassPrefix):],
			"empty": "", "the stored hash": string(stored), "in another case": strings.ToUpper(token),
		} {
			if isFound(t, d, other, panel) {
				t.Errorf("the pass is found by a token that is %s", what)
			}
		}
		if isFound(t, d, token, panel+":8443") || isFound(t, d, token, "") {
			t.Error("the pass is found for another panel")
		}
	})
}

func TestPassEndsWithItsAccountsStampAndItsAccount(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		for name, end := range map[string]func(ctx context.Context, tx *db.Tx, a account.Account, id string) error{
			"stamp": func(ctx context.Context, tx *db.Tx, a account.Account, _ string) error {
				_, err := account.Restamp(ctx, tx, a.ID)
				return err
			},
			"disabled": func(ctx context.Context, tx *db.Tx, a account.Account, _ string) error {
				return account.SetDisabled(ctx, tx, a.ID, testkit.Start)
			},
			"removed": func(ctx context.Context, tx *db.Tx, a account.Account, _ string) error {
				return account.Remove(ctx, tx, a.ID)
			},
			"revoked": func(ctx context.Context, tx *db.Tx, a account.Account, id string) error {
				there, err := Revoke(ctx, tx, a.ID, id)
				if !there {
					t.Error("Revoke reports that the pass doesn't exist")
				}
				return err
			},
			"all": func(ctx context.Context, tx *db.Tx, a account.Account, _ string) error {
				return RevokeAll(ctx, tx, a.ID)
			},
		} {
			a, other := newOwner(t, d, name), newOwner(t, d, "other-"+name)
			token, err := create(d, a, samplePass(t, "one"))
			if err != nil {
				t.Fatal(err)
			}
			others, err := create(d, other, samplePass(t, "one"))
			if err != nil || !isFound(t, d, token, panel) {
				t.Fatalf("%s: a new pass isn't found: %v", name, err)
			}
			write(t, d, func(ctx context.Context, tx *db.Tx) error {
				mine, err := List(ctx, tx, a.ID)
				if err != nil {
					return err
				}
				if there, err := Revoke(ctx, tx, other.ID, mine[0].ID); err != nil || there {
					t.Errorf("Revoke by another account: %v, %v; want false", there, err)
				}
				return end(ctx, tx, a, mine[0].ID)
			})
			if isFound(t, d, token, panel) || !isFound(t, d, others, panel) {
				t.Errorf("%s: found %v, and another account's %v; want false, true", name, isFound(t, d, token, panel), isFound(t, d, others, panel))
			}
		}
		write(t, d, Purge)
		var n int
		if err := db.One(context.Background(), d.Reader(), `SELECT COUNT(*) FROM passes`, nil, &n); err != nil || n != 0 {
			t.Errorf("%d passes left after Purge, %v; want none", n, err)
		}
	})
}

// An added authenticator changes the stamp of an account and of its strong passes. A weaker pass,
// a pass that has another stamp already and a pass of another account don't get the new stamp.
func TestOnlyStrongPassesGetTheNewStamp(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, bob := newOwner(t, d, "ada"), newOwner(t, d, "bob")
		proof := func(kind authenticator.Kind) authenticator.Proof {
			return authenticator.Proof{Kind: kind, At: testkit.Start}
		}
		old := ada
		old.Stamp = "an older stamp"
		tests := []struct {
			name       string
			owner      account.Account
			proofs     []authenticator.Proof
			byOperator bool
			want       bool
		}{
			{"password", ada, []authenticator.Proof{proof(authenticator.Password)}, false, false},
			{"code", ada, []authenticator.Proof{proof(authenticator.TOTP)}, false, false},
			{"nothing", ada, nil, false, false},
			{"both", ada, []authenticator.Proof{proof(authenticator.Password), proof(authenticator.TOTP)}, false, true},
			{"backup code", ada, []authenticator.Proof{proof(authenticator.Password), proof(authenticator.BackupCode)}, false, true},
			{"operator", ada, nil, true, true},
			{"older stamp", old, nil, true, false},
			{"of bob", bob, []authenticator.Proof{proof(authenticator.Password)}, false, true},
		}
		tokens := make([]string, len(tests))
		for i, test := range tests {
			p := samplePass(t, test.name)
			p.Proofs, p.ByOperator = test.proofs, test.byOperator
			var err error
			if tokens[i], err = create(d, test.owner, p); err != nil {
				t.Fatal(err)
			}
		}
		write(t, d, func(ctx context.Context, tx *db.Tx) error {
			stamp, err := account.Restamp(ctx, tx, ada.ID)
			if err != nil {
				return err
			}
			return RevokeWeak(ctx, tx, ada, stamp)
		})
		for i, test := range tests {
			if got := isFound(t, d, tokens[i], panel); got != test.want {
				t.Errorf("the pass %q is valid: %v, want %v", test.name, got, test.want)
			}
		}
		var n int
		if err := db.One(context.Background(), d.Reader(), `SELECT COUNT(*) FROM passes WHERE account_id = $1`, []any{ada.ID}, &n); err != nil || n != 3 {
			t.Errorf("%d passes of ada are left, %v; want 3", n, err)
		}
	})
}

// beforeSecondRead calls do before the second query.
type beforeSecondRead struct {
	db.Querier
	queries int
	do      func()
}

func (q *beforeSecondRead) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if q.queries++; q.queries == 2 {
		q.do()
	}
	return q.Querier.QueryContext(ctx, query, args...)
}

// A pass and its account are read one after the other. If the stamp changes in between, a pass
// that got the new stamp must still be admitted, and one that didn't must be refused.
func TestNewStampWhileAPassIsRead(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		for name, test := range map[string]struct {
			revoke func(ctx context.Context, tx *db.Tx, before account.Account, stamp string) error
			want   error
		}{
			"kept": {RevokeWeak, nil},
			"revoked": {func(ctx context.Context, tx *db.Tx, a account.Account, _ string) error {
				return RevokeAll(ctx, tx, a.ID)
			}, db.ErrNotFound},
			"forgotten": {func(context.Context, *db.Tx, account.Account, string) error { return nil }, db.ErrNotFound},
		} {
			a := newOwner(t, d, name)
			p := samplePass(t, "one")
			p.ByOperator = true
			token, err := create(d, a, p)
			if err != nil {
				t.Fatal(err)
			}
			q := &beforeSecondRead{Querier: d.Reader(), do: func() {
				write(t, d, func(ctx context.Context, tx *db.Tx) error {
					stamp, err := account.Restamp(ctx, tx, a.ID)
					if err != nil {
						return err
					}
					return test.revoke(ctx, tx, a, stamp)
				})
			}}
			if _, _, err := ByToken(context.Background(), q, token, panel); !errors.Is(err, test.want) {
				t.Errorf("a pass that is %s while it is read: %v, want %v", name, err, test.want)
			}
			if q.queries < 2 {
				t.Errorf("%s: %d queries, want at least 2", name, q.queries)
			}
		}
	})
}

func TestPassesAreLimited(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada, bob := newOwner(t, d, "ada"), newOwner(t, d, "bob")
		for what, ends := range map[string]time.Duration{"too late": MaxLife + time.Second, "now": 0, "in the past": -time.Hour} {
			p := samplePass(t, what)
			p.ExpiresAt = testkit.Start.Add(ends)
			if _, err := create(d, ada, p); !errors.Is(err, ErrLife) {
				t.Errorf("end %s: %v, want ErrLife", what, err)
			}
		}
		for i := range maxPerAccount {
			if _, err := create(d, ada, samplePass(t, fmt.Sprint("pass ", i))); err != nil {
				t.Fatal(err)
			}
			if _, err := create(d, ada, samplePass(t, "pass 0")); i < maxPerAccount-1 && !errors.Is(err, ErrNameTaken) {
				t.Errorf("a second pass of one name: %v, want ErrNameTaken", err)
			}
		}
		if _, err := create(d, ada, samplePass(t, "one more")); !errors.Is(err, ErrLimit) {
			t.Errorf("a pass past the limit: %v, want ErrLimit", err)
		}
		if _, err := create(d, bob, samplePass(t, "pass 0")); err != nil {
			t.Errorf("a pass of another account: %v, want no error", err)
		}
		// Expired passes stay in the list for a while.
		for after, want := range map[time.Duration]int{time.Hour + listedAfterEnd - time.Second: maxPerAccount, time.Hour + listedAfterEnd: 0} {
			var left []Pass
			err := d.Write(context.Background(), func(tx *db.Tx) error {
				if err := Expire(context.Background(), tx, testkit.Start.Add(after)); err != nil {
					return err
				}
				var err error
				if left, err = List(context.Background(), tx, ada.ID); err != nil {
					return err
				}
				return errors.New("roll back")
			})
			if len(left) != want {
				t.Errorf("%v later: %d passes left, want %d: %v", after, len(left), want, err)
			}
		}
	})
}

func TestLastUseOnlyMovesForward(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := newOwner(t, d, "ada")
		if _, err := create(d, ada, samplePass(t, "one")); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct{ at, want time.Duration }{{time.Minute, time.Minute}, {0, time.Minute}, {time.Hour, time.Hour}} {
			all, err := List(context.Background(), d.Reader(), ada.ID)
			if err == nil {
				err = d.Write(context.Background(), func(tx *db.Tx) error {
					return NoteUse(context.Background(), tx, all[0].ID, testkit.Start.Add(test.at))
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			if all, err = List(context.Background(), d.Reader(), ada.ID); err != nil || !all[0].SeenAt.Equal(testkit.Start.Add(test.want)) {
				t.Errorf("used after %v: last use %v, %v; want it %v after the start", test.at, all[0].SeenAt, err, test.want)
			}
		}
	})
}
