package sallyport_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// waitingAtOnce are more than a node has connections.
	waitingAtOnce = 24

	// fullOf events fill more than a megabyte; see [testkit.Postgres.FillDisk].
	fullOf = 10000
)

// everyConnectionWaits has more people sign in at a node than it has connections,
// each of which waits for a lock. They are refused, and soon after it is given up all
// is well.
func (s *ordeal) everyConnectionWaits() {
	s.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.primary.URL("postgres"))
	check(s.t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE`)
	check(s.t, err)
	var waiting sync.WaitGroup
	for range waitingAtOnce {
		waiting.Go(func() {
			a, err := s.visitor().through(s.nodes[1].way).send(http.MethodPost, "/login", "username", s.anybody().name, "password", portal.Password)
			if err != nil || a.Status != http.StatusServiceUnavailable {
				s.t.Errorf("while every connection waits: %s, %v", short(a), err)
			}
		})
	}
	waiting.Wait()
	check(s.t, conn.Close(ctx))
	s.goesOn(time.Now(), "every connection waited")
}

// diskIsFull fills the database's disk. Nobody signs in who would leave no trace, and
// once there is room all goes on by itself.
func (s *ordeal) diskIsFull() {
	s.t.Helper()
	s.primary.Exec(s.t, fmt.Sprintf(`
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
		SELECT 'event' || i, 0, '', 'owner', 'signed_in', 'ok', '', 0, '10.1.1.1', 'Chrome on Linux' FROM generate_series(1, %d) AS i`, fullOf))
	s.primary.FillDisk(s.t)
	for _, n := range s.nodes {
		testkit.Until(s.t, "a full disk at "+n.name, func() bool {
			a, err := s.visitor().through(n.way).send(http.MethodPost, "/login", "username", s.anybody().name, "password", portal.Password)
			check(s.t, err)
			return a.Status == http.StatusServiceUnavailable
		})
	}
	s.primary.MakeRoom(s.t)
	s.goesOn(time.Now(), "a full disk")
}
