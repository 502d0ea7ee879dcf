// Package server builds everything from the configuration, joins the doors,
// and runs until it is told to stop. It owns the clock that all others get.
package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/web"
)

// Time limits of a connection: a browser is done long before, and slow senders
// don't keep a connection for ever (ATTACKS 149).
const (
	headerTime = 10 * time.Second
	readTime   = 30 * time.Second
	writeTime  = 60 * time.Second
	idleTime   = 2 * time.Minute

	// maxHeader is enough for every cookie and header of a browser.
	maxHeader = 32 << 10

	// stopTime is how long requests under way may take at the end, and restTime
	// what the jobs leave to do: a service manager waits longer than both.
	stopTime = 10 * time.Second
	restTime = 5 * time.Second

	// sweepEvery is how often rows that mean nothing any more are deleted.
	sweepEvery = time.Minute

	// sealEvery is how long an event waits to be sealed; until then, who has
	// the database could change it unnoticed.
	sealEvery = 5 * time.Second

	// pruneEvery is how often what is older than audit.keep is deleted. Each
	// time that something is leaves a checkpoint for ever.
	pruneEvery = 6 * time.Hour

	// leasePauses is how many pauses between two runs of a job its lease
	// lives: after so many another node takes over from one that has died, and
	// one that is slow keeps it.
	leasePauses = 3
)

// Names of leases: work that one node does for all.
const (
	sweepLease   = "sweep"
	auditLease   = "audit" // sealing and pruning
	measureLease = "measure"
	backupLease  = "backup"
)

// Portal is an opened portal: its database, key ring and services. The command
// line works on one beside a running server.
type Portal struct {
	Config  config.Config
	Login   *login.Service
	DB      *db.DB
	Handler http.Handler
	Metrics http.Handler // GET /metrics
	Log     *slog.Logger

	node string // names this process to others on the database
}

// Open opens database and key ring, which it creates where there is no account
// yet, and builds the services. Errors say what to do.
func Open(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) (*Portal, error) {
	d, err := db.Open(ctx, cfg.DatabaseURL())
	if err != nil {
		return nil, err
	}
	from := RingSource(cfg)
	ring, err := openRing(ctx, d, from)
	if err != nil {
		d.Close()
		return nil, err
	}
	follow(ring, from, log)
	queue := throttle.NewQueue(runtime.NumCPU())
	watch := &clock.Watch{}
	counts := newMetrics(queue, watch)
	service := &login.Service{
		DB: d, Ring: ring, Clock: now,
		Ledger:         throttle.NewLedger(d, now),
		Queue:          queue,
		Watch:          watch,
		Mark:           &clock.Mark{DB: d, Reference: func(ctx context.Context) (time.Time, error) { return d.Clock(ctx, now()) }},
		Life:           session.Life{Idle: time.Duration(cfg.Session.Idle), Absolute: time.Duration(cfg.Session.Absolute)},
		Passwords:      secret.Argon2id{MemoryKiB: uint32(cfg.Password.MemoryKiB), Iterations: uint32(cfg.Password.Iterations)},
		MinRunes:       cfg.Password.MinLength,
		Issuer:         cfg.SiteName,
		Metrics:        counts.login(),
		EnrollByTicket: cfg.TwoFactor.Enroll == config.EnrollTicket,
	}
	handler, err := web.New(web.Options{
		Login: service, PublicURL: cfg.PublicURL.String(), SiteName: cfg.SiteName, TrustedProxies: cfg.TrustedProxies, Log: log,
		Measure: counts.request,
	})
	if err != nil {
		d.Close()
		return nil, err
	}
	return &Portal{
		Config: cfg, Login: service, DB: d, Handler: handler, Metrics: counts.handler(), Log: log, node: secret.NewID(),
	}, nil
}

// openRing reads the key ring, or makes one for an empty database where it is
// ours to make. A ring that doesn't open what the database holds is refused
// now, not at somebody's sign-in (F4).
func openRing(ctx context.Context, d *db.DB, from secret.Source) (*secret.Ring, error) {
	ring, err := from.Read(ctx)
	if from.Ours() && errors.Is(err, fs.ErrNotExist) {
		some, err := account.Exist(ctx, d.Reader())
		if err != nil {
			return nil, err
		}
		if some {
			return nil, fmt.Errorf("there is no key ring at %s, but the database has accounts: put its key ring there (on another node: a copy of the first node's)", from.Path)
		}
		if err := os.MkdirAll(filepath.Dir(from.Path), 0o700); err != nil {
			return nil, fmt.Errorf("create data directory: %w", err)
		}
		ring, err = secret.CreateRing(from.Path)
		if errors.Is(err, fs.ErrExist) {
			return secret.ReadRing(from.Path) // another process was faster
		}
		return ring, err
	}
	if err != nil {
		return nil, err
	}
	err = password.CheckRing(ctx, d.Reader(), ring)
	if errors.Is(err, secret.ErrUnknownKey) || errors.Is(err, secret.ErrOpen) {
		return nil, fmt.Errorf("%v is not the one that this database was written with: put the right one there, or on another node a fresh copy of it; \"sallyport key check\" says more", from)
	}
	return ring, err
}

// Close closes the database.
func (p *Portal) Close() error { return p.DB.Close() }

// URL returns the address of a path of the portal.
func (p *Portal) URL(path string) string { return p.Config.PublicURL.String() + path }

// SetupLink returns the address where the first account is made, or "" where
// there is one.
func (p *Portal) SetupLink(ctx context.Context) (string, error) {
	token, needed, err := p.Login.SetupTicket(ctx)
	if err != nil || !needed {
		return "", err
	}
	return p.TicketLink(token), nil
}

// TicketLink returns the address of a one-time link.
func (p *Portal) TicketLink(token secret.Text) string {
	return p.URL("/setup?ticket=" + token.Reveal())
}

// Listen opens the configured address. Its error says what to do.
func (p *Portal) Listen(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; set listen to an address that is free", err)
	}
	return listener, nil
}

// serveMetrics answers /metrics where the configuration says so, until ctx
// ends. They have a listener of their own so that no proxy shows them to all.
func (p *Portal) serveMetrics(ctx context.Context) (stop func(), err error) {
	if p.Config.MetricsListen == "" {
		return func() {}, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Config.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; set metrics_listen to an address that is free", err)
	}
	srv := p.httpServer(p.Metrics)
	go srv.Serve(listener)
	return func() { srv.Close() }, nil
}

func (p *Portal) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),
	}
}

// Serve answers on the listener until ctx ends, then lets requests under way
// finish. It closes the listener.
func (p *Portal) Serve(ctx context.Context, listener net.Listener) error {
	unlock, err := p.DB.LockServer()
	if err != nil {
		listener.Close()
		return err
	}
	defer unlock()
	stopMetrics, err := p.serveMetrics(ctx)
	if err != nil {
		listener.Close()
		return err
	}
	defer stopMetrics()
	srv := p.httpServer(p.Handler)
	if err := p.WatchClock(ctx); err != nil {
		p.Log.Warn("clock", "reason", err.Error()) // the job tries again
	}
	// Before the first request: what another node, or this one before it was
	// restarted, has measured.
	if _, err := p.Login.Ledger.Refresh(ctx); err != nil {
		p.Log.Warn("measure", "reason", err.Error())
	}
	jobs, endJobs := context.WithCancel(ctx)
	defer endJobs()
	var running sync.WaitGroup
	running.Go(func() { p.every(jobs, sweepEvery, "sweep", p.Sweep) })
	running.Go(func() { p.every(jobs, sealEvery, "seal", p.Seal) })
	running.Go(func() { p.every(jobs, pruneEvery, "prune", p.Prune) })
	running.Go(func() { p.every(jobs, throttle.MeasureEvery, "measure", p.Measure) })
	running.Go(func() { p.every(jobs, clock.MoveEvery, "clock", p.WatchClock) })
	if p.Config.Backup.Every > 0 {
		running.Go(func() { p.every(jobs, scheduleEvery, "backup", p.BackUp) })
	}

	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if err = srv.Shutdown(stop); err != nil {
			srv.Close()
		}
	}
	endJobs()
	running.Wait()
	p.rest(context.WithoutCancel(ctx))
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// every runs a job again and again until ctx ends.
func (p *Portal) every(ctx context.Context, pause time.Duration, name string, job func(context.Context) error) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := job(ctx); err != nil && ctx.Err() == nil {
			p.Log.Warn(name, "reason", err.Error())
		}
	}
}

// rest is the end of the jobs: another node needn't wait for this one's leases.
func (p *Portal) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	if err := p.DB.EndLeases(ctx, p.node); err != nil {
		p.Log.Warn("stop", "reason", err.Error())
	}
}

// alone does work that one node does for all, unless another does it. pause is
// that between two runs.
func (p *Portal) alone(ctx context.Context, lease string, pause time.Duration, work func(context.Context) error) error {
	mine, err := p.DB.Lease(ctx, lease, p.node, leasePauses*pause, p.Login.Clock())
	if err != nil || !mine {
		return err
	}
	return work(ctx)
}

// Measure learns what the wrong codes of all accounts together say, once. One
// node counts them, for all.
func (p *Portal) Measure(ctx context.Context) error {
	err := p.alone(ctx, measureLease, throttle.MeasureEvery, func(ctx context.Context) error {
		accounts, err := account.Count(ctx, p.DB.Reader())
		if err != nil {
			return err
		}
		before := p.Login.Ledger.Hot()
		hot, err := p.Login.Ledger.Measure(ctx, accounts)
		if hot && !before {
			p.Log.Error("wrong codes after right passwords on many accounts: unknown browsers must give two codes in a row now; passwords of this site may have leaked")
		}
		return err
	})
	_, heard := p.Login.Ledger.Refresh(ctx)
	return errors.Join(err, heard)
}

// WatchClock moves the high-water mark, once, and says what is wrong with the
// clock (F7).
func (p *Portal) WatchClock(ctx context.Context) error {
	if by := p.Login.Watch.Look(p.Login.Clock()); by > 0 {
		p.Log.Warn("the clock went back", "by", by.Round(time.Second).String())
	}
	before, after, err := p.Login.Mark.Move(ctx)
	if err != nil {
		return err
	}
	now := p.Login.Clock()
	if by := after.Behind(now); by > 0 {
		p.Log.Error("this server's clock was set back: no code is taken until it is right; if it is right now: sallyport clock accept", "behind", by.Round(time.Second).String())
	}
	if !after.LeaptAt.Equal(before.LeaptAt) && !after.LeaptAt.IsZero() {
		p.Log.Warn("the clock leapt ahead, or the server was off; it is believed after an hour, or at once by: sallyport clock accept",
			"ahead", after.LeaptAt.Sub(after.HighWater).Round(time.Second).String())
	}
	return nil
}

// Sweep deletes what has expired, once, unless another node does. Nothing waits
// for it: what has expired is refused whether its row is there or not.
func (p *Portal) Sweep(ctx context.Context) error {
	return p.alone(ctx, sweepLease, sweepEvery, func(ctx context.Context) error {
		now := p.Login.Clock()
		return p.DB.Write(ctx, func(tx *db.Tx) error {
			return errors.Join(
				login.SweepAttempts(ctx, tx, now),
				session.Sweep(ctx, tx, p.Login.Life, now),
				device.Sweep(ctx, tx, now),
				authenticator.Sweep(ctx, tx, now),
				account.SweepTickets(ctx, tx, now),
				throttle.Sweep(ctx, tx, now),
			)
		})
	})
}

// Seal puts the audit events that wait into the chain, unless another node
// does, and logs each new head: only a log that the database's owner can't
// change shows that the chain's end was cut off.
func (p *Portal) Seal(ctx context.Context) error {
	for more := true; more; {
		// A look first: taking the lease is a write.
		some, err := audit.Waiting(ctx, p.DB.Reader())
		if err != nil || !some {
			return err
		}
		more = false
		err = p.alone(ctx, auditLease, sealEvery, func(ctx context.Context) error {
			more = true
			return p.sealBatch(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Portal) sealBatch(ctx context.Context) error {
	head, n, err := audit.Seal(ctx, p.DB, p.Login.Ring)
	if err == nil && n > 0 {
		p.Log.Info("audit sealed", "seq", head.Seq, "head", head.String())
	}
	return err
}

// Prune deletes the audit events that are older than the configuration keeps
// them, unless another node does.
func (p *Portal) Prune(ctx context.Context) error {
	if p.Config.Audit.Keep == 0 {
		return nil
	}
	for more := true; more; {
		more = false
		// The pause is that of sealing: both have one lease.
		err := p.alone(ctx, auditLease, sealEvery, func(ctx context.Context) error {
			now := p.Login.Clock()
			head, n, err := audit.Prune(ctx, p.DB, p.Login.Ring, now.Add(-time.Duration(p.Config.Audit.Keep)), now)
			if err == nil && n > 0 {
				p.Log.Info("audit pruned", "seq", head.Seq, "head", head.String())
			}
			more = n == audit.Batch
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
