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

// servingMemory is what the server needs besides the memory that passwords are
// hashed in: 2,000 connections at once, and room to be collected in.
const servingMemory = 96 << 20

type serveCommand struct {
	Upstream string `help:"URL of a panel's own server. Panel and portal then share one host, with the portal below /.sallyport/. Also SALLYPORT_UPSTREAM." placeholder:"URL"`
}

// Run serves until it is told to stop.
func (c serveCommand) Run(r *run) error {
	if c.Upstream != "" {
		r.environ = append(r.environ, "SALLYPORT_UPSTREAM="+c.Upstream)
	}
	portal, err := r.openOrMake()
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

// announce says where the portal is, and while it has no account how to make one. A
// server that can't serve must neither print a link nor issue one.
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
	if portal.Config.PublicURL.Scheme == "http" && !portal.Config.PublicURL.Loopback() {
		portal.Log.Warn("public_url is plain http: anyone on the network path can read passwords and take over sessions; use http on a trusted network only")
	}
	if portal.Config.SharedHost {
		portal.Log.Warn("the panel is on the portal's host, so its pages can act in the portal as the person who is signed in; do this only with a panel that you trust with every account, or give the portal a host name of its own")
	}
	return nil
}

// garbagePercent is how much garbage may stand beside what is in use, some 3 MB: the
// collector would take a tenth of the time of forward-auth at Go's 100.
const garbagePercent = 350

// limitMemory has the collector work harder before a flood of passwords fills
// the machine: each hash leaves megabytes behind, and several times as much
// would be kept. It is no hard limit. GOMEMLIMIT and GOGC set others.
func limitMemory(cfg config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(servingMemory + int64(runtime.GOMAXPROCS(0))*int64(cfg.Password.MemoryKiB)<<10)
	}
}

// reloadOnHangup reads the configuration again at each SIGHUP, until stop is
// called. What is wrong with it the portal says.
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
