package sessions

// Changes that share a transaction on PostgreSQL; see db.DB.WriteTogether.

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Each owner changes the account in three browsers on two nodes at once, so that on both nodes several
// changes share a transaction, while sweeps delete rows of all accounts. A password change and "revoke
// others" end each other's session, so for each owner exactly one of the two succeeds.
func TestOwnersOnTwoNodesAtOnce(t *testing.T) {
	t.Parallel()
	const owners, browsers = 10, 3
	nodes := portal.StartNodes(t, 2)
	var all [owners * browsers]*portal.Browser
	for i := range owners {
		name := fmt.Sprint("ada", i)
		nodes[0].AddAccount(t, name)
		for j := range browsers {
			all[i*browsers+j] = nodes[(i+j)%2].Browser(t)
			all[i*browsers+j].SignIn(name)
		}
	}
	// Expired rows of every account, which the changes delete too.
	portal.ChangeRows(t, nodes[0], `
		INSERT INTO attempts (id, token_hash, account_id, security_stamp, purpose, proofs, return_url, created_at, expires_at)
		SELECT id || n, CAST(id || n AS BYTEA), id, security_stamp, 'sign_in', '', '/', 0, 1 FROM accounts, generate_series(1, 20) n`)
	portal.ChangeRows(t, nodes[0], `
		INSERT INTO tickets (token_hash, kind, account_id, created_at, expires_at)
		SELECT CAST(id || n AS BYTEA), 'let_in', id, 0, 1 FROM accounts, generate_series(1, 20) n`)
	var (
		done   atomic.Bool
		sweeps sync.WaitGroup
	)
	sweeps.Go(func() {
		for !done.Load() {
			testkit.Check(t, nodes[0].Sweep(context.Background()))
		}
	})
	results := testkit.Race(len(all), func(i int) string {
		b := all[i]
		var a portal.Answer
		switch i % browsers {
		case 0:
			a = b.Post("/logout")
		case 1:
			a = b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password")
		default:
			a = b.Post("/settings/sessions/revoke-others")
		}
		return fmt.Sprint(a.Status)
	})
	done.Store(true)
	sweeps.Wait()
	// A request whose session ended while it waited gets 404.
	gone := results[fmt.Sprint(http.StatusNotFound)]
	if gone > owners*2 || results[fmt.Sprint(http.StatusSeeOther)]+gone != len(all) {
		t.Errorf("the answers are %v, want 303, or 404 for at most two browsers of each owner", results)
	}
	for i := range owners {
		signedIn := 0
		for _, b := range all[i*browsers : (i+1)*browsers] {
			if b.SignedIn() {
				signedIn++
			}
		}
		if signedIn != 1 || all[i*browsers].SignedIn() {
			t.Errorf("owner %d is signed in with %d browsers after the changes, want one", i, signedIn)
		}
	}
	portal.NothingHalfDone(t, nodes[0].DB)
}
