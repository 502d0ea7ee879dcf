package cli

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// servingMemory is the memory in bytes that the server needs for 2,000 connections at once and
// for garbage. The memory for hashing passwords is added to it.
const servingMemory = 96 << 20

type serveCommand struct {
	Upstream string `help:"URL of a panel's own server. Panel and portal then share one host, with the portal below /.sallyport/. Also SALLYPORT_UPSTREAM." placeholder:"URL"`
}

// Run serves until its context ends.
func (c serveCommand) Run(r *run) error {
	if c.Upstream != "" {
		r.environ = append(r.environ, "SALLYPORT_UPSTREAM="+c.Upstream)
	}
	portal, err := r.openOrCreatePortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	limitMemory(portal.Config)
	defer r.reloadOnHangup(portal)()
	listener, err := portal.Listen(r)
	if err != nil {
		return err
	}
	portal.OnReady = func() error { return r.announce(portal, listener) }
	return portal.Serve(r, listener)
}

// announce prints the portal's URL and, if there is no account, a link that creates the
// first one. It must run only once the server can serve: a server that fails to start must
// neither issue nor print a link.
func (r *run) announce(portal *server.Portal, listener net.Listener) error {
	link, err := portal.SetupLink(r)
	if err != nil {
		return err
	}
	fmt.Fprintln(r.streams.Out, r.describeConfig(portal.Config))
	if portal.Config.SharedHost {
		fmt.Fprintf(r.streams.Out, "The panel is at %s/\n", portal.Config.PublicURL)
	}
	fmt.Fprintf(r.streams.Out, "Sallyport is at %s\n", portal.URL("/"))
	if link != "" {
		fmt.Fprintf(r.streams.Out, "\nThere is no account yet. Create the first one, an administrator, within 15 minutes:\n\n  %s\n\n"+
			"For a new link, run: sallyport account setup-link\n\n", link)
	}
	portal.Log.Info("serving", "listen", listener.Addr().String(), "public_url", portal.Config.PortalURL())
	if portal.Config.PublicURL.Scheme == "http" && !portal.Config.PublicURL.IsLoopback() {
		portal.Log.Warn("public_url is plain http: anyone on the network path can read passwords and take over sessions; use http on a trusted network only")
	}
	if portal.Config.SharedHost {
		portal.Log.Warn("the panel is on the portal's host, so its pages can act in the portal as the person who is signed in; do this only with a panel that you trust with every account, or give the portal a host name of its own")
	}
	if err := notifyReady(); err != nil {
		portal.Log.Warn("systemd couldn't be told that the server is ready, so it goes on waiting for the start; the server works", "reason", err.Error())
	}
	return nil
}

// garbagePercent replaces Go's default for GOGC, which is 100. The heap in use is only about 3 MB,
// so with 100 the collector would take a tenth of the CPU time of forward-auth.
const garbagePercent = 350

// limitMemory sets a soft memory limit, near which the collector runs more often. Each
// password hash leaves megabytes of garbage, and a flood of sign-ins would otherwise grow
// the heap to several times what it needs. The variables GOMEMLIMIT and GOGC take
// precedence.
func limitMemory(cfg config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(servingMemory + int64(runtime.GOMAXPROCS(0))*int64(cfg.Password.MemoryKiB)<<10)
	}
}

// reloadOnHangup reloads the configuration at each SIGHUP until stop is called.
// [server.Portal.Reload] reports faults.
func (r *run) reloadOnHangup(portal *server.Portal) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			portal.Reload(config.Load(r.configFile, r.environ))
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
	}
}
