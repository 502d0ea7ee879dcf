package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Node is a server that uses the database.
type Node struct {
	ID   string
	Name string   // for operators
	Keys []string // the ids of the keys in its ring; ids contain no spaces
}

// Report records that the node n is alive, has its keys and knows the words of this program. The
// report is valid for life by the database's clock, which nodes and commands share. SQLite has no
// clock; there the report is valid for life by own, the time of this process. If only newer
// programs can use the database by now, Report records nothing and returns an error that wraps
// [db.ErrTooOld]; the node must stop then.
func Report(ctx context.Context, d *db.DB, n Node, life time.Duration, own time.Time) error {
	now, err := d.Clock(ctx, own)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err = d.Write(ctx, func(tx *db.Tx) error {
		// Read the table before the schema is locked; see [db.LockUsable].
		var some bool
		if err := db.One(ctx, tx, `SELECT EXISTS (SELECT 1 FROM nodes)`, nil, &some); err != nil {
			return err
		}
		err := db.LockUsable(ctx, tx)
		if err != nil {
			return err
		}
		if d.ServesOne() { // every other node is dead
			_, err = db.Exec(ctx, tx, `DELETE FROM nodes WHERE id <> $1`, n.ID)
		} else {
			_, err = db.Exec(ctx, tx, `DELETE FROM nodes WHERE expires_at <= $1`, db.At{Time: now})
		}
		if err != nil {
			return err
		}
		_, err = db.Exec(ctx, tx, `
			INSERT INTO nodes (id, name, ring_keys, knows, expires_at)
			VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE
			SET    name = excluded.name, ring_keys = excluded.ring_keys, knows = excluded.knows, expires_at = excluded.expires_at`,
			n.ID, n.Name, strings.Join(n.Keys, " "), known(), db.At{Time: now.Add(life)})
		return err
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Nodes returns the nodes whose reports are valid, by name.
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
