package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// reportEvery is how often a node reports its keys, even if they haven't changed. A
	// node counts as alive for reportLife after its last report.
	reportEvery = 10 * time.Second
	reportLife  = 3 * reportEvery

	// reportTime is how long a rotation waits for all nodes to report the new key: several
	// times as long as a node takes to notice a new ring file, since it may be busy.
	reportTime = 10 * ringEvery
)

// report is the last report of a node.
type report struct {
	keys []string
	at   time.Time
}

// Report writes this node's keys to the database, for other nodes and for commands, if
// they have changed or [reportEvery] has passed.
func (p *Portal) Report(ctx context.Context) error {
	p.ring.Refresh()
	var keys []string
	for _, key := range p.ring.Keys() {
		keys = append(keys, key.ID)
	}
	if slices.Equal(keys, p.reported.keys) && time.Since(p.reported.at) < reportEvery {
		return nil
	}
	p.reported = report{keys, time.Now()} // even if it fails: the next try may wait as long
	return cluster.Report(ctx, p.DB, cluster.Node{ID: p.cluster.Self, Name: nodeName(p.Config.Listen), Keys: keys}, reportLife, p.Login.Clock())
}

// nodeName returns the name of a node for operators: its host and address.
func nodeName(listen string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return host + " at " + listen
}

// ErrNotSpread means that a live node doesn't have the key that is to seal. That node could
// not open secrets sealed under it, and would refuse their owners' sign-ins.
var ErrNotSpread = errors.New("some nodes don't have the new key yet, and would refuse sign-ins; nothing was changed")

// spread waits until every live node has reported the ring's newest key, and
// returns the key, or [ErrNotSpread] with the nodes that lack it.
func (k *Keys) spread(ctx context.Context) (newest string, err error) {
	keys := k.Ring.Keys()
	newest = keys[len(keys)-1].ID
	for start := time.Now(); ; {
		nodes, err := cluster.Nodes(ctx, k.DB, time.Now())
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
		if time.Since(start) >= k.patience {
			return "", fmt.Errorf("%w: %s\n%s; Sallyport forgets a node that was killed after %v", ErrNotSpread, strings.Join(lacking, ", "), howToSpread(k.From), reportLife)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(ringEvery / 4):
		}
	}
}

func howToSpread(from secret.Source) string {
	if from.IsWritable() {
		return "copy " + from.Path + " to each of them, wait some seconds until they have read it, and run this command again"
	}
	return "store the ring that \"key add\" printed for each of them, restart them, and run this command again"
}
