package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/doctor"
	"github.com/sallyport/sallyport/internal/server"
)

type doctorCommand struct {
	JSON     bool             `name:"json" help:"Print one JSON document."`
	CA       string           `name:"ca" help:"PEM file with certificates of CAs to trust too." placeholder:"FILE"`
	Connect  []doctor.Connect `name:"connect-to" help:"Connect to HOST2:PORT2 instead of HOST1:PORT1, as curl's option does; may be repeated." sep:"none" placeholder:"HOST1:PORT1:HOST2:PORT2"`
	Upstream []string         `help:"URL of the panel's own server, if another proxy serves the panel; may be repeated." sep:"none" placeholder:"[PANEL=]URL"`
	Path     []string         `help:"Another path of the panels to test, such as that of a WebSocket; may be repeated." sep:"none" placeholder:"PATH"`
	Proxy    string           `help:"The proxy in front, if doctor doesn't recognise it: nginx, caddy, haproxy, traefik, envoy, apache." placeholder:"NAME"`
}

// Run tests the live set-up and prints a report. It returns an error if something is open,
// broken or unclear.
func (c doctorCommand) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err == nil {
		err = server.Check(cfg)
	}
	if err != nil {
		return err
	}
	o, err := c.options(r, cfg)
	if err != nil {
		return usageError{err}
	}
	start := time.Now()
	report := doctor.Run(r, o)
	if err := r.Err(); err != nil {
		return fmt.Errorf("doctor stopped before it had tested everything: %w", err)
	}
	if c.JSON {
		err = printJSON(r.streams.Out, report, start)
	} else {
		err = printReport(r.streams.Out, report, time.Since(start))
	}
	if err == nil && report.HasFaults() {
		err = errors.New("doctor found faults that must be fixed")
	}
	return err
}

// options returns what to test, from the configuration and the flags.
func (c doctorCommand) options(r *run, cfg config.Config) (doctor.Options, error) {
	o := doctor.Options{
		PublicURL: cfg.PublicURL.String(), Base: strings.TrimPrefix(cfg.PortalURL(), cfg.PublicURL.String()), Metrics: cfg.MetricsListen,
		Listen: cfg.Listen, OwnTLS: cfg.TerminatesTLS(), TrustsProxies: len(cfg.TrustedProxies) > 0,
		Paths: c.Path, Connect: c.Connect, Proxy: c.Proxy, Now: time.Now, MailFrom: cfg.Mail.From.Address, Files: filesToCheck(r.configFile, cfg),
	}
	if c.Proxy != "" && !slices.Contains(doctor.Proxies(), c.Proxy) {
		return o, fmt.Errorf("--proxy %s is unknown; use one of %s", c.Proxy, strings.Join(doctor.Proxies(), ", "))
	}
	for _, path := range c.Path {
		if !strings.HasPrefix(path, "/") {
			return o, fmt.Errorf("--path %s doesn't begin with /", path)
		}
	}
	err := c.readRoots(&o)
	if err == nil {
		err = c.readPanels(&o, cfg)
	}
	return o, err
}

// filesToCheck returns the files and folders that only their owner may change: those that
// hold secrets, and the configuration, which grants access to panels.
func filesToCheck(configFile string, cfg config.Config) doctor.Files {
	f := doctor.Files{Config: configFile, Folders: []string{cfg.DataDir}}
	if _, err := os.Stat(cfg.BackupDir()); err == nil {
		f.Folders = append(f.Folders, cfg.BackupDir())
	}
	if path := cfg.KeyRingPath(); len(cfg.KeyRingCommand) == 0 && path != "" && filepath.Dir(path) != filepath.Clean(cfg.DataDir) {
		f.KeyRing = path
	}
	return f
}

// readRoots sets o.Roots to the system's CAs and those of --ca.
func (c doctorCommand) readRoots(o *doctor.Options) error {
	if c.CA == "" {
		return nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("--ca: %s contains no PEM certificate; name a file that does", c.CA)
	}
	o.Roots = roots
	return nil
}

// readPanels sets o.Panels to the panels of the configuration, with the upstreams of the
// configuration and of --upstream.
func (c doctorCommand) readPanels(o *doctor.Options, cfg config.Config) error {
	declared, err := server.Panels(cfg)
	if err != nil {
		return err
	}
	for i, p := range cfg.Panels {
		one := doctor.Panel{Panel: declared[i], Upstream: p.Upstream.String(), Gateway: p.Upstream != config.Upstream{}}
		for _, rule := range p.Rules {
			if rule.Require == config.RequireNothing {
				one.Open = append(one.Open, rule.Path)
			} else {
				one.Rules = append(one.Rules, rule.Path)
			}
		}
		o.Panels = append(o.Panels, one)
	}
	for _, text := range c.Upstream {
		if err := setUpstream(o.Panels, text); err != nil {
			return err
		}
	}
	return nil
}

// setUpstream sets the upstream of a panel. text is PANEL=URL, where PANEL is a panel's URL
// or host, or just URL if there is one panel.
func setUpstream(panels []doctor.Panel, text string) error {
	name, address, named := strings.Cut(text, "=")
	if !named {
		name, address = "", text
	}
	origin, err := config.ParseOrigin(address)
	if err != nil {
		return fmt.Errorf("--upstream: %w", err)
	}
	host := name
	if o, err := config.ParseOrigin(name); err == nil {
		_, host, _ = strings.Cut(o.String(), "://")
	}
	i := slices.IndexFunc(panels, func(p doctor.Panel) bool { return access.SameHost(p.Host(), host) })
	if !named && len(panels) == 1 {
		i = 0
	}
	if i < 0 {
		return fmt.Errorf("--upstream %s: write PANEL=URL, with a panel's url from the configuration", text)
	}
	panels[i].Upstream = origin.String()
	return nil
}
