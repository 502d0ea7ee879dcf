package maintenance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Each node has its own copy of the key ring; a command works on the copy of the first node.
func TestRotationWaitsForEveryLiveNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	database := Database{URL: testkit.DatabaseURL(t, "postgres")}
	d, err := database.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var nodes []*Reporter
	var rings []string
	for i := range 3 {
		path := filepath.Join(t.TempDir(), "keyring")
		if i == 0 {
			if _, err := secret.CreateRing(path); err != nil {
				t.Fatal(err)
			}
		} else {
			copyRing(t, rings[0], path)
		}
		ring, err := secret.ReadRing(path)
		if err != nil {
			t.Fatal(err)
		}
		ring.Follow(func() *secret.Ring { // as a server does
			ring, err := secret.ReadRing(path)
			if err != nil {
				t.Error(err)
			}
			return ring
		})
		node := &Reporter{DB: d, Node: fmt.Sprint("node ", i), Name: fmt.Sprint("host at 127.0.0.1:", i+1), Ring: ring, Now: time.Now, Clock: time.Now}
		nodes, rings = append(nodes, node), append(rings, path)
		if err := node.Report(ctx); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := OpenKeys(ctx, database, secret.Source{Path: rings[0]}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	keys.patience, keys.pause = 0, noPause
	before := keys.Sealing()
	added, err := keys.Add(ctx)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(when string, names ...string) {
		t.Helper()
		_, err := keys.Rotate(ctx)
		if !errors.Is(err, ErrNotSpread) {
			t.Fatalf("%s: %v, want ErrNotSpread", when, err)
		}
		for _, node := range nodes {
			if strings.Contains(err.Error(), node.Name) != slices.Contains(names, node.Name) {
				t.Errorf("%s: %v, want %v named", when, err, names)
			}
		}
		if keys.Sealing() != before {
			t.Errorf("%s: the keys were rotated", when)
		}
	}
	refused("no node has it", nodes[0].Name, nodes[1].Name, nodes[2].Name)
	copyRing(t, rings[0], rings[1])
	for i, node := range nodes {
		if err := node.Report(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := len(node.reported), []int{2, 2, 1}[i]; got != want {
			t.Errorf("%s reported %d keys, want %d", node.Name, got, want)
		}
	}
	refused("one lacks it", nodes[2].Name)
	// That node dies.
	err = keys.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `UPDATE nodes SET expires_at = expires_at - $2 WHERE id = $1`, nodes[2].Node, reportLife.Milliseconds())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Rotate(ctx); err != nil || keys.Sealing() != added {
		t.Errorf("a rotation without the dead node: %v; the key %s seals, want %s", err, keys.Sealing(), added)
	}
	if err := cluster.EndLeases(ctx, d, nodes[1].Node); err != nil {
		t.Fatal(err)
	}
	if alive, err := cluster.Nodes(ctx, keys.DB, time.Now()); err != nil || len(alive) != 1 || alive[0].ID != nodes[0].Node {
		t.Errorf("live nodes after another one has stopped: %+v, %v; want the first alone", alive, err)
	}
}

func copyRing(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.Write(to, text); err != nil {
		t.Fatal(err)
	}
}
