package cli

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

type demoCommand struct {
	Listen string `help:"Address to listen at." default:"127.0.0.1:9091" placeholder:"HOST:PORT"`
}

// Run serves a portal whose database is deleted at the end.
func (c demoCommand) Run(r *run) error {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	// Only what the flag says counts here: a demo must not come near the real
	// portal's configuration.
	file, panel, err := c.samplePanel(dir)
	if err != nil {
		return err
	}
	defer panel.Close()
	cfg, err := config.Load(file, []string{"SALLYPORT_LISTEN=" + c.Listen, "SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_SITE_NAME=Sallyport demo"})
	if err != nil {
		return err
	}
	portal, err := server.Open(r, cfg, time.Now, r.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer portal.Close()
	listener, err := portal.Listen(r)
	if err != nil {
		return err
	}
	password := demoPassword()
	demo := account.Account{Name: "demo", DisplayName: "Demo", Role: account.Operator}
	if _, err := portal.Login.AddAccount(r, demo, password); err != nil {
		listener.Close()
		return err
	}
	open := portal.URL("/")
	if len(cfg.Panels) > 0 {
		open = cfg.Panels[0].URL.String() + "/   (a sample panel behind the gate)\n  Portal    " + open
	}
	fmt.Fprintf(r.streams.Out, `
  Open      %s
  Name      demo
  Password  %s

Sign in, then choose "Secure your account" at the portal. Everything is gone
when you press Ctrl-C.

`, open, password)
	return portal.Serve(r, listener)
}

// samplePanel starts the sample panel and writes a configuration with it. Of
// the two names that this machine has for itself the portal gets one and the
// panel the other: cookies tell hosts apart, not ports. Where the demo listens
// to others there is no second name, and no panel.
func (c demoCommand) samplePanel(dir string) (file string, panel io.Closer, err error) {
	host, port, err := net.SplitHostPort(c.Listen)
	other := map[string]string{"127.0.0.1": "localhost", "localhost": "127.0.0.1"}[host]
	if err != nil || other == "" {
		return "", io.NopCloser(nil), nil // what is wrong with the address config says
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("start the sample panel: %w", err)
	}
	srv := &http.Server{Handler: samplePanel(), ReadHeaderTimeout: sampleHeaderTime}
	go srv.Serve(listener)
	file = filepath.Join(dir, "sallyport.yaml")
	text := fmt.Sprintf("panels:\n  - url: http://%s\n    upstream: http://%s\n", net.JoinHostPort(other, port), listener.Addr())
	return file, srv, os.WriteFile(file, []byte(text), 0o600)
}

// demoPassword is random, 80 bits, and can be typed.
func demoPassword() string {
	var random [10]byte
	rand.Read(random[:])
	text := strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}
