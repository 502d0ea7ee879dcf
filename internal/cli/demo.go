package cli

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
)

type demoCommand struct {
	Listen     string `help:"Address of this machine to listen at." default:"127.0.0.1:9091" placeholder:"HOST:PORT"`
	SharedHost bool   `help:"Put the portal on the panel's own host, for browsers that don't know the names below .localhost."`
}

// The demo's hosts. Browsers resolve every name below .localhost to their own machine
// (RFC 6761, section 6.3).
const (
	demoPortal = "portal.localhost"
	demoPanel  = "panel.localhost"
)

// Run serves a temporary portal in front of a sample panel, and deletes its files at the
// end.
func (c demoCommand) Run(r *run) error {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(demoMails(dir), 0o700); err != nil {
		return fmt.Errorf("make a directory for mails: %w", err)
	}
	panel, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the sample panel: %w", err)
	}
	cfg, err := c.config(dir, panel.Addr().String())
	if err != nil {
		panel.Close()
		return err
	}
	sample := &http.Server{Handler: samplePanel(cfg.PortalURL() + "/"), ReadHeaderTimeout: sampleHeaderTime}
	go sample.Serve(panel)
	defer sample.Close()
	portal, err := server.Open(r, cfg, time.Now, r.logger(slog.LevelWarn, config.LogAuto))
	if err != nil {
		return err
	}
	defer portal.Close()
	listener, err := portal.Listen(r)
	if err != nil {
		return err
	}
	password := demoPassword()
	demo := account.Account{Name: "demo", Email: "demo@" + demoPortal, DisplayName: "Demo", Role: account.Administrator}
	demo, err = portal.Manage.Accounts.Add(r, manage.CommandLine(), demo, password)
	if err == nil {
		err = portal.Manage.Accounts.VerifyEmail(r, manage.CommandLine(), demo) // for "Forgot your password?"
	}
	if err != nil {
		listener.Close()
		return err
	}
	portal.OnReady = func() error { return c.announce(r, portal, password) }
	return portal.Serve(r, listener)
}

func (c demoCommand) announce(r *run, portal *server.Portal, password string) error {
	_, err := fmt.Fprintf(r.streams.Out, `
  Panel     %s/   (a sample panel behind the gate)
  Portal    %s
  Name      demo
  Password  %s
  Mails     file://%s/   (each mail is a file)
  Commands  sallyport account list --config %s

Open the panel and sign in. Then turn on two-factor authentication at the portal.
Everything is gone when you press Ctrl-C.

`, portal.Config.Panels[0].URL, portal.URL("/"), password, portal.Config.Mail.URL.Dir, filepath.Join(portal.Config.DataDir, "sallyport.yaml"))
	if err != nil || c.SharedHost {
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, `Chromium, Firefox and curl find names below .localhost by themselves. If your
browser doesn't, add this line to /etc/hosts, or run the demo with --shared-host:

  127.0.0.1 %s %s

`, demoPortal, demoPanel)
	return err
}

// config returns the configuration of a demo, with the demo's files in dir and its panel at the
// address panel. It ignores the environment and the operator's configuration: a demo must not touch
// the data of a real portal. It writes the configuration to a file in dir, so that other commands
// can be run on the demo.
func (c demoCommand) config(dir, panel string) (config.Config, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return config.Load("", []string{"SALLYPORT_LISTEN=" + c.Listen}) // which returns the fault of the address
	}
	text := fmt.Sprintf("listen: %q\ndata_dir: %q\nsite_name: Sallyport demo\nmail:\n  url: %q\n  from: demo@%s\n", c.Listen, dir, "file:"+demoMails(dir), demoPortal)
	if c.SharedHost {
		text += fmt.Sprintf("upstream: http://%s\n", panel)
	} else {
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return config.Config{}, usageError{fmt.Errorf("names below .localhost lead browsers to their own machine, so the demo can't listen at %s: leave out --listen, or add --shared-host", c.Listen)}
		}
		text += fmt.Sprintf("public_url: http://%s:%s\npanels:\n  - url: http://%s:%s\n    name: Harbour Streams\n    upstream: http://%s\n", demoPortal, port, demoPanel, port, panel)
	}
	file := filepath.Join(dir, "sallyport.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return config.Config{}, fmt.Errorf("write the demo's configuration: %w", err)
	}
	return config.Load(file, nil)
}

// demoMails returns the directory into which the demo writes mails. The directory exists before the
// first mail, so that the link to it works.
func demoMails(dir string) string { return filepath.Join(dir, "mails") }

// demoPassword returns a random password of 80 bits that is easy to type.
func demoPassword() string {
	var random [10]byte
	rand.Read(random[:])
	text := strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}
