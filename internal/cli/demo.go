package cli

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
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
	panel, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the sample panel: %w", err)
	}
	sample := &http.Server{Handler: samplePanel(), ReadHeaderTimeout: sampleHeaderTime}
	go sample.Serve(panel)
	defer sample.Close()
	cfg, err := config.Load("", []string{
		"SALLYPORT_LISTEN=" + c.Listen, "SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_SITE_NAME=Sallyport demo",
		"SALLYPORT_UPSTREAM=http://" + panel.Addr().String(),
	})
	if err != nil {
		return err
	}
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
	demo := account.Account{Name: "demo", DisplayName: "Demo", Role: account.Operator}
	if _, err := portal.Login.AddAccount(r, demo, password); err != nil {
		listener.Close()
		return err
	}
	portal.Begun = func() error { return c.announce(r, portal, password) }
	return portal.Serve(r, listener)
}

func (demoCommand) announce(r *run, portal *server.Portal, password string) error {
	_, err := fmt.Fprintf(r.streams.Out, `
  Open      %s/   (a sample panel behind the gate)
  Portal    %s
  Name      demo
  Password  %s

Sign in, then choose "Secure your account" at the portal. Everything is gone
when you press Ctrl-C.

`, portal.Config.PublicURL, portal.URL("/"), password)
	return err
}

// demoPassword is random, 80 bits, and can be typed.
func demoPassword() string {
	var random [10]byte
	rand.Read(random[:])
	text := strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}
