package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/gateway"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/web"
)

// Portal is an open portal: its database, key ring and services. A command opens a Portal
// of its own while a server runs on the same database.
type Portal struct {
	Config   config.Config
	Login    *login.Service
	Entry    *entry.Service
	Manage   *manage.Service
	Outbox   *outbox.Pump
	Recovery *recovery.Service
	DB       *db.DB
	Handler  *swapHandler
	Metrics  http.Handler // GET /metrics
	Log      *slog.Logger

	// If OnReady is not nil, Serve calls it before it answers the first request, when every
	// address is bound and the database is locked. If OnReady returns an error, so does Serve.
	OnReady func() error

	clientConns  gateway.ClientConns    // connections of clients
	inForce      atomic.Pointer[router] // the router that Handler calls
	certificates *certs.Certificates    // nil unless Sallyport itself terminates TLS
	redirect     *swapHandler           // answers redirect_listen

	now        func() time.Time // this machine's clock; everything else uses Login.Clock
	cluster    cluster.Cluster  // the servers on the database
	faulty     atomic.Bool      // the last reload failed, so an earlier configuration is in force
	refusesAll atomic.Bool      // [refusesEveryRequest] of the configuration in force
	ending     chan struct{}    // closed when the server stops: streams must end
	tooOld     chan error       // gets the error with which the server must stop; see Report
	isTooOld   atomic.Bool

	reporter maintenance.Reporter
	count    func(route string, status int, took time.Duration)
}

// Open opens the database and the key ring, and builds the services. It creates the
// database if it is missing, and the key ring if it is missing and the database has no
// account. Errors say what to do.
func Open(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) (*Portal, error) {
	return open(ctx, cfg, now, log, true)
}

// OpenExisting is [Open] for commands that must not create a portal: it returns an error that
// wraps [maintenance.ErrNoPortal] if there is no portal.
func OpenExisting(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) (*Portal, error) {
	return open(ctx, cfg, now, log, false)
}

func open(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger, create bool) (*Portal, error) {
	from := ringSource(cfg)
	ring, missing, err := readRing(ctx, from) // first, so that an unusable ring leaves no new database behind
	if err != nil {
		fault := ringFault(err)
		if create && from.IsWritable() && !errors.As(fault, new(config.Faults)) {
			fault = databaseFault(cfg, err) // the ring is in data_dir, like an SQLite database
		}
		return nil, withCause(fault, err)
	}
	if !create {
		if err := databaseOf(cfg).Exists(ctx); db.IsMisconfigured(err) {
			return nil, databaseFault(cfg, err)
		} else if err != nil {
			return nil, err
		}
		if missing {
			return nil, fmt.Errorf("there is no key ring at %s, but there is a database: put the database's key ring there (on another node: a copy of the first node's)", cfg.KeyRingPath())
		}
	}
	d, err := databaseOf(cfg).Open(db.OnWait(ctx, func(reason error) {
		log.Warn("the upgrade of the database's schema waits for other transactions, such as a dump; this start goes on when they have ended", "reason", reason.Error())
	}))
	if err != nil {
		return nil, withCause(databaseFault(cfg, err), err)
	}
	if missing {
		ring, err = makeRing(ctx, d, from)
	} else {
		err = checkRing(ctx, d, ring, from)
	}
	if err != nil {
		d.Close()
		return nil, ringFault(err)
	}
	follow(ring, from, log)
	queue := throttle.NewQueue(runtime.GOMAXPROCS(0), now) // unlike NumCPU, it respects a container's CPU limit
	watch := &clock.Watch{}
	counts := newMetrics(queue, watch, func(ctx context.Context) (time.Time, error) { return audit.Waiting(ctx, d.Reader()) }, now)
	reference := func() time.Time { return watch.Reference(now()) }
	gate := &entry.Service{
		DB: d, Admissions: entry.NewAdmissions(d), Clock: reference, Checked: counts.countCheck(),
		Life: session.Life{Idle: time.Duration(cfg.Session.Idle), Absolute: time.Duration(cfg.Session.Absolute)},
	}
	gate.PolicyClock = func() time.Time {
		at := now()
		if believed := watch.Believed(at); believed.After(watch.Reference(at)) {
			return believed
		}
		return watch.Reference(at)
	}
	gate.Policy.Set(policyItems(cfg))
	service := &login.Service{
		DB: d, Ring: ring,
		Clock:     reference,
		Ledger:    throttle.NewLedger(d, func() time.Time { return watch.Believed(now()) }),
		Queue:     queue,
		Watch:     watch,
		Mark:      &clock.Mark{DB: d, Reference: func(ctx context.Context) (time.Time, error) { return d.Clock(ctx, now()) }},
		Life:      gate.Life,
		Passwords: secret.Argon2id{MemoryKiB: uint32(cfg.Password.MemoryKiB), Iterations: uint32(cfg.Password.Iterations)},
		MinRunes:  cfg.Password.MinLength,
		Issuer:    cfg.SiteName,
		Metrics:   counts.loginHooks(),
	}
	service.Mark.WentBack = service.ClockWentBack
	pump := &outbox.Pump{DB: d, Ring: ring, Clock: reference, Log: log}
	service.Journal = newJournal(ring, pump)
	links := &recovery.Service{Login: service, PublicURL: cfg.PortalURL(), HasMail: func() bool { return pump.Has(outbox.Mail) }}
	changes := manage.New(manage.Options{Login: service, Entry: gate, EnrollByTicket: cfg.TwoFactor.Enroll == config.EnrollTicket, MailLink: links.MailLink})
	p := &Portal{Config: cfg, Login: service, Entry: gate, Manage: changes, Recovery: links, Outbox: pump, DB: d, now: now, Handler: &swapHandler{}, redirect: &swapHandler{}, Log: log, count: counts.observeRequest, ending: make(chan struct{}), tooOld: make(chan error, 1)}
	pump.GaveUp = p.Recovery.GaveUp
	pump.Count = counts.registerOutbox(func(ctx context.Context) ([]outbox.Waiting, error) { return outbox.Count(ctx, d.Reader()) }, reference)
	sender, err := mailSender(cfg, d, p.Recovery)
	if err != nil && create { // a command sends no mail
		d.Close()
		return nil, err
	}
	pump.Set(outbox.Mail, sender)
	sender, err = webhookSender(cfg, d, reference)
	if err != nil && create { // a command sends no request to the webhook
		d.Close()
		return nil, err
	}
	pump.Set(outbox.Webhook, sender)
	p.cluster = cluster.Cluster{
		DB: d, Self: secret.NewID(), Log: log,
		Reference: func(ctx context.Context) (time.Time, error) { return service.Mark.Reference(ctx) },
	}
	p.reporter = maintenance.Reporter{DB: d, Node: p.cluster.Self, Name: nodeName(cfg.Listen), Ring: ring, Now: time.Now, Clock: func() time.Time { return service.Clock() }}
	counts.registerReload(&p.faulty)
	counts.registerPolicy(func(ctx context.Context, least policy.Level) (int, error) {
		groups, everybody := gate.Policy.Groups(least)
		return countWithout(ctx, d.Reader(), groups, everybody)
	}, now)
	if cfg.TerminatesTLS() {
		p.certificates = certs.New(certificatesOf(cfg), now, log)
		counts.registerCertificates(p.certificates)
	}
	p.Metrics = counts.handler()
	next, err := p.buildRouter(cfg)
	if err != nil {
		d.Close()
		return nil, err
	}
	p.setRouter(next)
	p.refusesAll.Store(refusesEveryRequest(cfg))
	p.redirect.set(newRedirect(cfg, p.certificates))
	return p, nil
}

// ringSource returns the configured place of the key ring.
func ringSource(cfg config.Config) secret.Source {
	return secret.Source{Path: cfg.KeyRingPath(), Credential: cfg.KeyRing.Credential, Command: cfg.KeyRingCommand}
}

func databaseOf(cfg config.Config) maintenance.Database {
	return maintenance.Database{URL: cfg.DatabaseURL(), Pooled: cfg.Pooler, Direct: cfg.DatabaseDirect.Reveal()}
}

// buildRouter returns the handler of the portal and of the panels that cfg declares.
func (p *Portal) buildRouter(cfg config.Config) (*router, error) {
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
	look, err := pageLook(cfg)
	if err != nil {
		return nil, err
	}
	return newRouter(web.Options{
		Login: p.Login, Entry: p.Entry, Manage: p.Manage, Recovery: p.Recovery, PublicURL: p.Config.PortalURL(), SiteName: p.Config.SiteName, Contact: string(p.Config.OperatorContact), Look: look, TrustedProxies: cfg.TrustedProxies, Log: p.Log,
		Panels: declared, Measure: p.count, Health: p.health, Vitals: p.vitals,
	}, up, limits{p.maxHeader(), p.ending}, func(origin string) *access.Panel { return p.inForce.Load().panelOfGateway(origin) })
}

// setRouter puts a router in force for the requests that follow.
func (p *Portal) setRouter(next *router) {
	p.inForce.Store(next)
	p.Handler.set(next)
}

// maxHeader returns how many bytes the headers of a request may have.
func (p *Portal) maxHeader() int { return p.Config.MaxHeaderKiB << 10 }

// readRing reads the key ring. The result missing is true if the ring's file doesn't exist and
// Sallyport can create it.
func readRing(ctx context.Context, source secret.Source) (ring *secret.Ring, missing bool, err error) {
	ring, err = source.Read(ctx)
	if source.IsWritable() && errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	return ring, false, err
}

// makeRing creates the key ring of a database without accounts. If the database has accounts,
// it returns an error: a new ring couldn't open their secrets.
func makeRing(ctx context.Context, d *db.DB, from secret.Source) (*secret.Ring, error) {
	some, err := account.AnyExist(ctx, d.Reader())
	if err != nil {
		return nil, err
	}
	if some {
		return nil, fmt.Errorf("there is no key ring at %s, but the database has accounts: put the database's key ring there (on another node: a copy of the first node's)", from.Path)
	}
	if err := durable.MakeDir(filepath.Dir(from.Path)); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	ring, err := secret.CreateRing(from.Path)
	if errors.Is(err, fs.ErrExist) {
		return secret.ReadRing(from.Path) // another process created it meanwhile
	}
	return ring, err
}

// checkRing returns an error if the ring doesn't open the secrets in the database. With a wrong
// ring, the server must not start and fail only at the first sign-in (F4 in docs/threat-model.md).
func checkRing(ctx context.Context, d *db.DB, ring *secret.Ring, from secret.Source) error {
	err := password.CheckRing(ctx, d.Reader(), ring)
	if errors.Is(err, secret.ErrUnknownKey) || errors.Is(err, secret.ErrOpen) {
		return fmt.Errorf("%v is not the one that this database was written with: put the right one there, or on another node a new copy of it; \"sallyport key check\" shows more", from)
	}
	return err
}

// Close closes the database.
func (p *Portal) Close() error { return p.DB.Close() }

// nodeName returns the name by which operators know a node: its host and address.
func nodeName(listen string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return host + " at " + listen
}

// URL returns the URL of a path of the portal; path begins with a slash.
func (p *Portal) URL(path string) string { return p.Config.PortalURL() + path }

// SetupLink returns a new one-time link that creates the first account, or "" if an account
// exists already.
func (p *Portal) SetupLink(ctx context.Context) (string, error) {
	token, needed, err := p.Manage.Links.IssueSetup(ctx, manage.CommandLine())
	if err != nil || !needed {
		return "", err
	}
	return p.TicketLink(token), nil
}

// TicketLink returns the one-time link with this token.
func (p *Portal) TicketLink(token secret.Text) string {
	return p.URL("/setup?ticket=" + token.Reveal())
}
