package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/durable"
)

// Time limits of a connection. Browsers need far less; a client that sends or reads
// slowly must not occupy a connection without end (attack 149).
const (
	headerTime = 10 * time.Second
	readTime   = 30 * time.Second
	writeTime  = 60 * time.Second
	idleTime   = 2 * time.Minute

	// headerSlack is how many bytes beyond max_header_kib the server still reads of a request's
	// headers, to answer with a page that names the longest cookies. net/http rejects longer
	// headers without a page.
	headerSlack = 64 << 10

	// auxiliaryHeader limits the headers of requests to redirect_listen and
	// metrics_listen, in bytes.
	auxiliaryHeader = 32 << 10

	// stopTime is how long requests in progress have to finish after the listener is closed.
	// restTime is how long the last work of the jobs has after that. A service manager must
	// wait for longer than their sum before it kills the process.
	stopTime = 10 * time.Second
	restTime = 5 * time.Second
)

// Listen checks the certificate files and opens the configured address. Its error says
// what to do.
func (p *Portal) Listen(ctx context.Context) (net.Listener, error) {
	if err := certs.CheckFiles(certificatesOf(p.Config)); err != nil {
		return nil, certificateFaults(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Config.Listen)
	if err != nil {
		return nil, listenFault("listen", err)
	}
	return listener, nil
}

// serveAuxiliary serves handler at an additional address. key is the configuration key of
// the address, for errors. If address is empty, serveAuxiliary has no effect.
func (p *Portal) serveAuxiliary(ctx context.Context, key, address string, handler http.Handler) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, listenFault(key, err)
	}
	srv := p.httpServer(handler)
	srv.MaxHeaderBytes = auxiliaryHeader
	go srv.Serve(listener)
	return func() { srv.Close() }, nil
}

// WatchCertificates reads certificate files again when they have changed, and requests missing
// certificates from the CA.
func (p *Portal) WatchCertificates(ctx context.Context) error {
	p.certificates.Watch(ctx)
	return nil
}

func (p *Portal) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		// In HTTP/2, WriteTimeout applies to each stream, not to the connection. Without
		// WriteByteTimeout, a client that reads nothing would keep its connection (attack 149).
		HTTP2:          &http.HTTP2Config{WriteByteTimeout: writeTime},
		MaxHeaderBytes: p.maxHeader() + headerSlack, ConnContext: p.clientConns.ConnContext, ConnState: p.clientConns.ConnState,
		ErrorLog: slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),
	}
}

// Serve answers requests on the listener until ctx ends. Then it drains the server, lets
// requests in progress finish, and closes the listener. It stops in the same way when the
// database needs a newer version of the program, and then returns an error that wraps
// [db.ErrTooOld]. Call Serve only once.
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
		if err := p.certificates.Begin(); err != nil {
			listener.Close()
			return certificateFaults(err)
		}
	}
	// A separate listener, so that a proxy in front of the portal doesn't publish metrics.
	stopMetrics, err := p.serveAuxiliary(ctx, "metrics_listen", p.Config.MetricsListen, p.Metrics)
	if err != nil {
		listener.Close()
		return err
	}
	defer stopMetrics()
	stopRedirect, err := p.serveAuxiliary(ctx, "redirect_listen", p.Config.RedirectListen, p.redirect)
	if err != nil {
		listener.Close()
		return err
	}
	defer stopRedirect()
	p.logWarnings(p.Config)
	if err := durable.RemoveLeftovers(p.Config.DataDir, time.Now()); err != nil {
		p.Log.Warn("left-over files stay in data_dir", "reason", err.Error())
	}
	srv := p.httpServer(p.Handler)
	if err := p.WatchClock(ctx); err != nil {
		p.Log.Warn("the clock couldn't be checked and will be checked again", "reason", err.Error())
	}
	// A restart must not relax the rate limits. So, before the first request, read what other
	// nodes have measured, and this node before its restart.
	if _, err := p.Login.Ledger.Refresh(ctx); err != nil {
		p.Log.Warn("the rate limits couldn't be measured and will be measured again", "reason", err.Error())
	}
	if err := p.Report(ctx); errors.Is(err, db.ErrTooOld) {
		listener.Close()
		return err
	} else if err != nil {
		p.Log.Warn("this node couldn't report its keys and will try again", "reason", err.Error())
	}
	p.warnOfEmptyGroups(ctx, p.Config)
	p.logPolicy(ctx, p.Config)
	if p.OnReady != nil {
		if err := p.OnReady(); err != nil {
			listener.Close()
			return err
		}
	}
	endJobs := p.startJobs(context.WithoutCancel(ctx)) // jobs also run while the server drains

	serve := srv.Serve
	if p.certificates != nil {
		srv.TLSConfig = p.certificates.TLS()
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		err = p.drain(srv, served)
	case err = <-p.tooOld:
		p.Log.Error("this server stops, since a newer version uses the database now: install that version here, and start it", "reason", err.Error())
		p.drain(srv, served)
	}
	endJobs()
	p.rest(context.WithoutCancel(ctx))
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// drain stops the server in two stages. First /readyz fails, so that load balancers send no
// more requests. After the configured drain time, the listener closes, streams end, and
// requests in progress get stopTime to finish.
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
