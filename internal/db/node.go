package db

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Node is a server that works on the database.
type Node struct {
	ID   string
	Name string   // for operators
	Keys []string // ids of the keys that it has; none holds a space
}

// Report says that a node is alive for so long, and what it has. Nodes and
// commands go by the database's clock; own is that of a process on SQLite.
func (d *DB) Report(ctx context.Context, n Node, life time.Duration, own time.Time) error {
	now, err := d.Clock(ctx, own)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err = d.Write(ctx, func(tx *Tx) error {
		var err error
		if d.postgres {
			_, err = Exec(ctx, tx, `DELETE FROM nodes WHERE expires_at <= $1`, At{now})
		} else { // one server works on a file (F14): the others are dead
			_, err = Exec(ctx, tx, `DELETE FROM nodes WHERE id <> $1`, n.ID)
		}
		if err != nil {
			return err
		}
		_, err = Exec(ctx, tx, `
			INSERT INTO nodes (id, name, ring_keys, expires_at)
			VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE
			SET    name = excluded.name, ring_keys = excluded.ring_keys, expires_at = excluded.expires_at`,
			n.ID, n.Name, strings.Join(n.Keys, " "), At{now.Add(life)})
		return err
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Nodes returns those that are alive, by name.
func (d *DB) Nodes(ctx context.Context, own time.Time) ([]Node, error) {
	now, err := d.Clock(ctx, own)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return All(ctx, d.read, func(scan Scan) (n Node, err error) {
		var keys string
		err = scan(&n.ID, &n.Name, &keys)
		n.Keys = strings.Fields(keys)
		return n, err
	}, `SELECT id, name, ring_keys FROM nodes WHERE expires_at > $1 ORDER BY name, id`, At{now})
}
