package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// reportEvery is how often a node reports its keys, even if they haven't changed. A
	// node counts as alive for reportLife after its last report.
	reportEvery = 10 * time.Second
	reportLife  = 3 * reportEvery

	// reportTime is how long a rotation waits for all nodes to report the new key: several
	// times as long as a node takes to notice a new ring file, since it may be busy.
	reportTime = 10 * RingEvery
)

// Reporter writes the keys of a running server to the database, for other nodes and
// for commands. It is for one goroutine.
type Reporter struct {
	DB    *db.DB
	Node  string // the ID of the server
	Name  string // for operators
	Ring  *secret.Ring
	Now   func() time.Time // the machine's clock
	Clock func() time.Time // used if the database has no clock

	reported []string // the keys of the last report
	at       time.Time
}

// Report looks at the ring's file and reports the keys, if they have changed or
// [reportEvery] has passed.
func (r *Reporter) Report(ctx context.Context) error {
	r.Ring.Refresh()
	var keys []string
	for _, key := range r.Ring.Keys() {
		keys = append(keys, key.ID)
	}
	if slices.Equal(keys, r.reported) && r.Now().Sub(r.at) < reportEvery {
		return nil
	}
	r.reported, r.at = keys, r.Now() // set even if the report fails: the next try waits as long as after a success
	return cluster.Report(ctx, r.DB, cluster.Node{ID: r.Node, Name: r.Name, Keys: keys}, reportLife, r.Clock())
}

// ErrNotSpread means that a live node doesn't have the key that is to seal. That node could
// not open secrets sealed under it, and would refuse their owners' sign-ins.
var ErrNotSpread = errors.New("some nodes don't have the new key yet, and would refuse sign-ins; nothing was changed")

// spread waits until every live node has reported the ring's newest key and returns the
// key's id. After the wait it returns [ErrNotSpread] with the names of the nodes that lack
// the key.
func (k *Keys) spread(ctx context.Context) (newest string, err error) {
	keys := k.Ring.Keys()
	newest = keys[len(keys)-1].ID
	for start := k.now(); ; {
		nodes, err := cluster.Nodes(ctx, k.DB, k.now())
		if err != nil {
			return "", err
		}
		var lacking []string
		for _, node := range nodes {
			if !slices.Contains(node.Keys, newest) {
				lacking = append(lacking, node.Name)
			}
		}
		if len(lacking) == 0 {
			return newest, nil
		}
		if k.now().Sub(start) >= k.patience {
			return "", fmt.Errorf("%w: %s\n%s; Sallyport forgets a node that was killed after %v", ErrNotSpread, strings.Join(lacking, ", "), howToSpread(k.From), reportLife)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(RingEvery / 4):
		}
	}
}

func howToSpread(from secret.Source) string {
	if from.IsWritable() {
		return "copy " + from.Path + " to each of them, wait some seconds until they have read it, and run this command again"
	}
	return "store the ring that \"key add\" printed for each of them, restart them, and run this command again"
}
