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
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/gateway"
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

	// moreHeader is how much longer than max_header_kib the headers of a request may be, and
	// still be answered by a page that names the longest cookies.
	moreHeader = 64 << 10

	// besideHeader is enough for a browser on its way to https, and for Prometheus.
	besideHeader = 32 << 10

	// stopTime is how long requests under way may take at the end, and restTime
	// what the jobs leave to do: a service manager waits longer than both.
	stopTime = 10 * time.Second
	restTime = 5 * time.Second
)

// Portal is an opened portal: its database, key ring and services. The command
// line works on one beside a running server.
type Portal struct {
	Config  config.Config
	Login   *login.Service
	DB      *db.DB
	Handler *swap
	Metrics http.Handler // GET /metrics
	Log     *slog.Logger

	// Begun, unless it is nil, is called by Serve once nothing keeps it from serving any
	// more: every address is bound and the database is locked. Its error ends Serve.
	Begun func() error

	links        gateway.Links         // connections of clients
	inForce      atomic.Pointer[doors] // what Handler holds
	certificates *certificates         // nil where TLS isn't ours
	redirect     *swap                 // what redirect_listen answers

	now    func() time.Time // this machine's own clock; all else goes by Login.Clock
	node   string           // names this process to others on the database
	faulty atomic.Bool      // the configuration that was read last is not in force
	warned atomic.Bool      // that in force has [Warnings]
	ending chan struct{}    // closed once nothing new may last

	ring     *secret.Ring
	reported report
	count    func(route string, status int, took time.Duration)
}

// Open opens database and key ring, which it creates where there is no account
// yet, and builds the services. Errors say what to do.
func Open(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) (*Portal, error) {
	return open(ctx, cfg, now, log, true)
}

// OpenExisting is [Open] for commands that must not make a portal: where there is none,
// it creates nothing and returns [ErrNoPortal].
func OpenExisting(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) (*Portal, error) {
	return open(ctx, cfg, now, log, false)
}

func open(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger, create bool) (*Portal, error) {
	from := RingSource(cfg)
	ring, missing, err := readRing(ctx, from) // before a database is made that it doesn't open
	if err != nil {
		why := whyNoRing(err)
		if create && from.Ours() && !errors.As(why, new(config.Faults)) {
			why = whyNoDatabase(cfg, err) // the ring is in data_dir, as an SQLite database is
		}
		return nil, withCause(why, err)
	}
	if !create {
		if err := exists(ctx, cfg, missing); err != nil {
			return nil, err
		}
	}
	d, err := openDatabase(ctx, cfg)
	if err != nil {
		return nil, withCause(whyNoDatabase(cfg, err), err)
	}
	if missing {
		ring, err = makeRing(ctx, d, from)
	} else {
		err = checkRing(ctx, d, ring, from)
	}
	if err != nil {
		d.Close()
		return nil, whyNoRing(err)
	}
	follow(ring, from, log)
	queue := throttle.NewQueue(runtime.GOMAXPROCS(0), now) // the cores that a container may use, not those that it sees
	watch := &clock.Watch{}
	counts := newMetrics(queue, watch, func(ctx context.Context) (time.Time, error) { return audit.Waiting(ctx, d.Reader()) }, now)
	service := &login.Service{
		DB: d, Ring: ring, Admissions: login.NewAdmissions(d),
		Clock:          func() time.Time { return watch.Reference(now()) },
		Ledger:         throttle.NewLedger(d, func() time.Time { return watch.Believed(now()) }),
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
	service.Mark.WentBack = service.ClockWentBack
	p := &Portal{Config: cfg, Login: service, DB: d, now: now, Handler: &swap{}, redirect: &swap{}, Log: log, node: secret.NewID(), count: counts.request, ending: make(chan struct{}), ring: ring}
	counts.watchReload(&p.faulty)
	if cfg.OwnTLS() {
		p.certificates = newCertificates(cfg, now, log)
		counts.watchCertificates(p.certificates)
	}
	p.Metrics = counts.handler()
	handler, err := p.doors(cfg)
	if err != nil {
		d.Close()
		return nil, err
	}
	p.use(handler)
	p.warned.Store(len(Warnings(cfg)) > 0)
	p.redirect.set(newRedirect(cfg, p.certificates))
	return p, nil
}

func openDatabase(ctx context.Context, cfg config.Config) (*db.DB, error) {
	if cfg.Pooler {
		return db.OpenPooled(ctx, cfg.DatabaseURL(), cfg.DatabaseDirect.Reveal())
	}
	return db.Open(ctx, cfg.DatabaseURL())
}

// doors builds what answers requests, as cfg declares it.
func (p *Portal) doors(cfg config.Config) (*doors, error) {
	if err := Check(cfg); err != nil {
		return nil, err
	}
	declared, err := Panels(cfg)
	if err != nil {
		return nil, err
	}
	up, err := upstreams(cfg)
	if err != nil {
		return nil, err
	}
	look, err := lookOf(cfg)
	if err != nil {
		return nil, err
	}
	return newDoors(web.Options{
		Login: p.Login, PublicURL: p.Config.PortalURL(), SiteName: p.Config.SiteName, Contact: string(p.Config.OperatorContact), Look: look, TrustedProxies: cfg.TrustedProxies, Log: p.Log,
		Panels: declared, Measure: p.count, Vitals: p.vitals,
	}, up, limits{p.maxHeader(), p.ending}, func(origin string) *access.Panel { return p.inForce.Load().panelOfGateway(origin) })
}

// use puts doors in force for the requests that follow.
func (p *Portal) use(d *doors) {
	p.inForce.Store(d)
	p.Handler.set(d)
}

// maxHeader returns how many bytes the headers of a request may have.
func (p *Portal) maxHeader() int { return p.Config.MaxHeaderKiB << 10 }

// readRing reads the key ring. missing says that its file isn't there and is ours to
// make.
func readRing(ctx context.Context, from secret.Source) (ring *secret.Ring, missing bool, err error) {
	ring, err = from.Read(ctx)
	if from.Ours() && errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	return ring, false, err
}

// makeRing makes the key ring of an empty database.
func makeRing(ctx context.Context, d *db.DB, from secret.Source) (*secret.Ring, error) {
	some, err := account.Exist(ctx, d.Reader())
	if err != nil {
		return nil, err
	}
	if some {
		return nil, fmt.Errorf("there is no key ring at %s, but the database has accounts: put the database's key ring there (on another node: a copy of the first node's)", from.Path)
	}
	if err := os.MkdirAll(filepath.Dir(from.Path), 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	ring, err := secret.CreateRing(from.Path)
	if errors.Is(err, fs.ErrExist) {
		return secret.ReadRing(from.Path) // another process was faster
	}
	return ring, err
}

// checkRing refuses a ring that doesn't open what the database holds now, not at
// somebody's sign-in (F4).
func checkRing(ctx context.Context, d *db.DB, ring *secret.Ring, from secret.Source) error {
	err := password.CheckRing(ctx, d.Reader(), ring)
	if errors.Is(err, secret.ErrUnknownKey) || errors.Is(err, secret.ErrOpen) {
		return fmt.Errorf("%v is not the one that this database was written with: put the right one there, or on another node a new copy of it; \"sallyport key check\" shows more", from)
	}
	return err
}

// Close closes the database.
func (p *Portal) Close() error { return p.DB.Close() }

// URL returns the address of a path of the portal.
func (p *Portal) URL(path string) string { return p.Config.PortalURL() + path }

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

// Listen opens the configured address, once the files of certificates are in order. Its
// error says what to do.
func (p *Portal) Listen(ctx context.Context) (net.Listener, error) {
	if len(p.Config.TLS.Certificates) > 0 {
		if _, err := readPairs(p.Config); err != nil {
			return nil, err
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Config.Listen)
	if err != nil {
		return nil, whyNoListener("listen", err)
	}
	return listener, nil
}

// serveBeside answers at another address of the configuration, that of key,
// unless it is empty.
func (p *Portal) serveBeside(ctx context.Context, key, address string, handler http.Handler) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, whyNoListener(key, err)
	}
	srv := p.httpServer(handler)
	srv.MaxHeaderBytes = besideHeader
	go srv.Serve(listener)
	return func() { srv.Close() }, nil
}

// WatchCertificates notices files that changed, and asks the CA for what is
// missing.
func (p *Portal) WatchCertificates(ctx context.Context) error {
	p.certificates.watch(ctx)
	return nil
}

func (p *Portal) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		// WriteTimeout is a stream's in HTTP/2: whoever reads nothing at all would
		// keep the connection.
		HTTP2:          &http.HTTP2Config{WriteByteTimeout: writeTime},
		MaxHeaderBytes: p.maxHeader() + moreHeader, ConnContext: p.links.ConnContext, ConnState: p.links.ConnState,
		ErrorLog: slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),
	}
}

// Serve answers on the listener until ctx ends, then drains it and lets requests
// under way finish. It closes the listener, and is called once.
func (p *Portal) Serve(ctx context.Context, listener net.Listener) error {
	unlock, err := p.DB.LockServer()
	if err != nil {
		listener.Close()
		return err
	}
	defer unlock()
	if unmark, err := markRunning(p.Config.DataDir); err != nil {
		p.Log.Warn("\"sallyport reload\" won't find this server; send it SIGHUP instead", "reason", err.Error())
	} else {
		defer unmark()
	}
	if p.certificates != nil {
		if err := p.certificates.begin(); err != nil {
			listener.Close()
			return err
		}
	}
	// Metrics have a listener of their own so that no proxy shows them to all.
	stopMetrics, err := p.serveBeside(ctx, "metrics_listen", p.Config.MetricsListen, p.Metrics)
	if err != nil {
		listener.Close()
		return err
	}
	defer stopMetrics()
	stopRedirect, err := p.serveBeside(ctx, "redirect_listen", p.Config.RedirectListen, p.redirect)
	if err != nil {
		listener.Close()
		return err
	}
	defer stopRedirect()
	p.warn(p.Config)
	if err := removeLeftovers(p.Config.DataDir); err != nil {
		p.Log.Warn("left-over files stay in data_dir", "reason", err.Error())
	}
	srv := p.httpServer(p.Handler)
	if err := p.WatchClock(ctx); err != nil {
		p.Log.Warn("the clock couldn't be checked and will be checked again", "reason", err.Error())
	}
	// Before the first request: what another node, or this one before it was
	// restarted, has measured.
	if _, err := p.Login.Ledger.Refresh(ctx); err != nil {
		p.Log.Warn("the rate limits couldn't be measured and will be measured again", "reason", err.Error())
	}
	if err := p.Report(ctx); err != nil {
		p.Log.Warn("this node couldn't report its keys and will try again", "reason", err.Error())
	}
	p.warnOfEmptyGroups(ctx, p.Config)
	if p.Begun != nil {
		if err := p.Begun(); err != nil {
			listener.Close()
			return err
		}
	}
	endJobs := p.startJobs(context.WithoutCancel(ctx)) // a server that drains still works

	serve := srv.Serve
	if p.certificates != nil {
		srv.TLSConfig = p.certificates.config()
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		err = p.drain(srv, served)
	}
	endJobs()
	p.rest(context.WithoutCancel(ctx))
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// drain ends serving in order: balancers are told to send nobody any more, then
// nobody can connect, streams end, and requests under way get their answer.
func (p *Portal) drain(srv *http.Server, served <-chan error) error {
	pause := time.Duration(p.Config.Drain)
	if pause > 0 {
		p.Log.Info("draining", "for", pause.String())
	}
	p.Handler.draining.Store(true)
	select {
	case err := <-served:
		return err
	case <-time.After(pause):
	}
	close(p.ending)
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err != nil {
		srv.Close()
	}
	return err
}
