package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
)

const (
	// signingInAtOnce is how many clients sign in while the waits of events are measured.
	signingInAtOnce = 64

	// mostWait is the longest wait of an event that is acceptable, in ms. Every five seconds the
	// server seals all unsealed events, so an event waits longer only if sealing is slow.
	mostWait = 5500
)

// sealing measures how long audit events wait until they are sealed, while users sign in as
// fast as the server hashes passwords.
func (m *mixed) sealing() {
	lite, err := sql.Open("sqlite", "file:"+filepath.Join(m.dir, "sallyport.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	m.must(err)
	defer lite.Close()
	written := m.events(lite)
	over := make(chan struct{})
	longest, watched := time.Duration(0), make(chan error, 1)
	go func() { watched <- m.watchWaits(lite, over, &longest) }()

	var (
		signedIn int
		mu       sync.Mutex
	)
	next := func() *operation {
		mu.Lock()
		defer mu.Unlock()
		signedIn++
		return &operation{account: m.nextAccount()}
	}
	start := time.Now()
	m.each(signingInAtOnce, func() error {
		for time.Since(start) < m.steady*3/2 {
			if err := m.patiently(next()); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(start)
	close(over)
	m.must(<-watched)
	m.add(row{what: "Sign-ins with code of 64 clients", unit: "/s", got: float64(signedIn) / took.Seconds()})
	m.add(row{what: "Audit events that they write", unit: "/s", got: float64(m.events(lite)-written) / took.Seconds()})
	m.add(row{what: "Longest wait of an audit event for its seal meanwhile", unit: "ms", got: milliseconds(longest), target: atMost(mostWait)})
}

// patiently retries a sign-in until the hashing queue has a place.
func (m *mixed) patiently(o *operation) error {
	for {
		err := m.signIn(o)
		if !isBusy(err) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// watchWaits observes unsealed events until over is closed, and stores their longest wait in longest.
func (m *mixed) watchWaits(lite *sql.DB, over chan struct{}, longest *time.Duration) error {
	for {
		select {
		case <-over:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		oldest, err := audit.Waiting(context.WithoutCancel(m.ctx), lite)
		if err != nil {
			return err
		}
		if !oldest.IsZero() {
			*longest = max(*longest, time.Since(oldest))
		}
	}
}

// events returns the number of audit events.
func (m *mixed) events(lite *sql.DB) (n int) {
	m.must(lite.QueryRowContext(m.ctx, `SELECT COUNT(*) FROM events`).Scan(&n))
	return n
}
