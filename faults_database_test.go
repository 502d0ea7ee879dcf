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
	s.T.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.primary.URL("postgres"))
	Check(s.T, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE`)
	Check(s.T, err)
	var waiting sync.WaitGroup
	for range waitingAtOnce {
		waiting.Go(func() {
			a, err := s.Visitor().Through(s.nodes[1].way).Send(http.MethodPost, "/login", "username", s.anybody().Name, "password", portal.Password)
			if err != nil || a.Status != http.StatusServiceUnavailable {
				s.T.Errorf("while every connection waits: %s, %v", Summary(a), err)
			}
		})
	}
	waiting.Wait()
	Check(s.T, conn.Close(ctx))
	s.goesOn(time.Now(), "every connection waited")
}

// diskIsFull fills the database's disk. Nobody signs in who would leave no trace, and
// once there is room all goes on by itself.
func (s *ordeal) diskIsFull() {
	s.T.Helper()
	s.primary.Exec(s.T, fmt.Sprintf(`
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
		SELECT 'event' || i, 0, '', 'owner', 'signed_in', 'ok', '', 0, '10.1.1.1', 'Chrome on Linux' FROM generate_series(1, %d) AS i`, fullOf))
	s.primary.FillDisk(s.T)
	for _, n := range s.nodes {
		testkit.Until(s.T, "a full disk at "+n.Name, func() bool {
			a, err := s.Visitor().Through(n.way).Send(http.MethodPost, "/login", "username", s.anybody().Name, "password", portal.Password)
			Check(s.T, err)
			return a.Status == http.StatusServiceUnavailable
		})
	}
	s.primary.MakeRoom(s.T)
	s.goesOn(time.Now(), "a full disk")
}
