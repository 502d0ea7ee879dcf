package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Node is a server that works on the database.
type Node struct {
	ID   string
	Name string   // for operators
	Keys []string // ids of the keys that it has; none holds a space
}

// Report says that a node is alive for so long, and what it has. Nodes and
// commands go by the database's clock; own is that of a process on SQLite.
func Report(ctx context.Context, d *db.DB, n Node, life time.Duration, own time.Time) error {
	now, err := d.Clock(ctx, own)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err = d.Write(ctx, func(tx *db.Tx) error {
		var err error
		if d.ServesOne() { // the others are dead
			_, err = db.Exec(ctx, tx, `DELETE FROM nodes WHERE id <> $1`, n.ID)
		} else {
			_, err = db.Exec(ctx, tx, `DELETE FROM nodes WHERE expires_at <= $1`, db.At{Time: now})
		}
		if err != nil {
			return err
		}
		_, err = db.Exec(ctx, tx, `
			INSERT INTO nodes (id, name, ring_keys, expires_at)
			VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE
			SET    name = excluded.name, ring_keys = excluded.ring_keys, expires_at = excluded.expires_at`,
			n.ID, n.Name, strings.Join(n.Keys, " "), db.At{Time: now.Add(life)})
		return err
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Nodes returns those that are alive, by name.
func Nodes(ctx context.Context, d *db.DB, own time.Time) ([]Node, error) {
	now, err := d.Clock(ctx, own)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return db.All(ctx, d.Reader(), `SELECT id, name, ring_keys FROM nodes WHERE expires_at > $1 ORDER BY name, id`,
		[]any{db.At{Time: now}}, func(scan db.Scan) (n Node, err error) {
			var keys string
			err = scan(&n.ID, &n.Name, &keys)
			n.Keys = strings.Fields(keys)
			return n, err
		})
}
