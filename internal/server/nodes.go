package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// reportEvery is how often a node says that it is alive, reportLife how long
	// that is believed. A new key it reports when it looks at the ring's file.
	reportEvery = 10 * time.Second
	reportLife  = leasePauses * reportEvery

	// reportTime is how long a rotation waits for nodes that have the new key to
	// say so: some looks at the file, on a busy machine.
	reportTime = 10 * ringEvery
)

// report is what a node said last.
type report struct {
	keys []string
	at   time.Time
}

// Report tells everybody, where it is time or there is something new, which
// keys this node has.
func (p *Portal) Report(ctx context.Context) error {
	p.ring.Refresh()
	var keys []string
	for _, key := range p.ring.Keys() {
		keys = append(keys, key.ID)
	}
	if slices.Equal(keys, p.reported.keys) && time.Since(p.reported.at) < reportEvery {
		return nil
	}
	p.reported = report{keys, time.Now()} // where it fails too: once in a while is enough
	return p.DB.Report(ctx, db.Node{ID: p.node, Name: nodeName(p.Config.Listen), Keys: keys}, reportLife, p.Login.Clock())
}

// nodeName is what operators know a node by.
func nodeName(listen string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return host + " at " + listen
}

// ErrNotSpread: a live node hasn't got the key that is to seal; it would refuse
// everybody whose secrets are sealed under it.
var ErrNotSpread = errors.New("some nodes don't have the new key yet, and would refuse sign-ins; nothing was changed")

// spread waits until every live node has reported the ring's newest key, and
// returns the key, or [ErrNotSpread] with the nodes that lack it.
func (k *Keys) spread(ctx context.Context) (newest string, err error) {
	keys := k.Ring.Keys()
	newest = keys[len(keys)-1].ID
	for begin := time.Now(); ; {
		nodes, err := k.DB.Nodes(ctx, time.Now())
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
		if time.Since(begin) >= k.patience {
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
	if from.Ours() {
		return "copy " + from.Path + " to each of them, wait some seconds until they have read it, and run this command again"
	}
	return "store the ring that \"key add\" printed for each of them, restart them, and run this command again"
}
