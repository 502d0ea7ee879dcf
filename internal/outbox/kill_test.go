package outbox

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

var kills = flag.Int("kills", 8, "how often TestKilledNodesLoseNothing kills a node on each engine")

// Variables of the process that [TestNodeThatIsKilled] becomes.
const (
	nodeURL   = "OUTBOX_TEST_URL"
	nodeRing  = "OUTBOX_TEST_RING"
	nodeRound = "OUTBOX_TEST_ROUND"
)

// TestNodeThatIsKilled is a node in a process of its own. It prints the id of each message that
// it sends, and ends after the last one. Without the variables it has no effect.
func TestNodeThatIsKilled(t *testing.T) {
	if os.Getenv(nodeURL) == "" {
		return
	}
	d := testkit.Open(t, os.Getenv(nodeURL))
	ring, err := secret.ReadRing(os.Getenv(nodeRing))
	testkit.Check(t, err)
	var round int
	fmt.Sscan(os.Getenv(nodeRound), &round)
	now := testkit.Start.Add(time.Duration(round) * 3 * time.Minute) // the claims of the last round have ended
	p := &Pump{
		DB: d, Ring: ring, Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler), Count: func(Kind, Class) {},
		GaveUp: func(context.Context, *db.Tx, Message, error, time.Time) error { fmt.Println("gave up"); return nil },
	}
	p.Set(Mail, &Sender{Timeout: time.Minute, Send: func(_ context.Context, m Message) error {
		fmt.Println("sent", m.ID) // one write: a kill can't cut it
		return nil
	}})
	testkit.Check(t, p.Run(t.Context()))
	p.Wait()
}

// A node is killed again and again, at random points between claim and deletion. Every message is
// sent; one that was being sent when its node was killed may be sent twice.
func TestKilledNodesLoseNothing(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			rawURL := testkit.MigratedURL(t, engine, dir)
			d, clock := testkit.Open(t, rawURL), testkit.NewClock()
			ring, err := secret.CreateRing(filepath.Join(dir, "keyring"))
			testkit.Check(t, err)
			n := *kills * 40 // so many that each node is killed while it sends messages of its own
			for i := range n {
				add(t, d, ring, clock, mail(fmt.Sprint("account ", i), "test", "hello"))
			}
			sent, rounds := map[string]int{}, 0
			for ; len(stored(t, d)) > 0; rounds++ {
				if rounds > 10**kills {
					t.Fatalf("%d messages are left after %d rounds", len(stored(t, d)), rounds)
				}
				node := exec.Command(os.Args[0], "-test.run=^TestNodeThatIsKilled$")
				node.Env = append(os.Environ(), nodeURL+"="+rawURL, nodeRing+"="+filepath.Join(dir, "keyring"), nodeRound+"="+fmt.Sprint(rounds+1))
				out, err := node.StdoutPipe()
				testkit.Check(t, err)
				testkit.Check(t, node.Start())
				for lines, seen := bufio.NewScanner(out), 0; lines.Scan(); {
					id, ok := strings.CutPrefix(lines.Text(), "sent ")
					if lines.Text() == "gave up" {
						t.Error("a message was given up")
					}
					if !ok {
						continue
					}
					sent[id]++
					if seen++; rounds < *kills && seen == 5+rounds%5 {
						testkit.Check(t, node.Process.Kill())
					}
				}
				node.Wait()
			}
			twice := 0
			for id, times := range sent {
				if times > 1 {
					twice++
				}
				if times > 2 {
					t.Errorf("message %s was sent %d times, want at most 2", id, times)
				}
			}
			if len(sent) != n || twice > atOnce*rounds {
				t.Errorf("%d of %d messages were sent, %d twice, in %d rounds", len(sent), n, twice, rounds)
			}
			t.Logf("%d messages, %d kills, %d sent twice", n, min(rounds, *kills), twice)
		})
	}
}
