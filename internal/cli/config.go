package cli

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

type configCommands struct {
	Check   configCheck   `cmd:"" help:"Check the configuration; says every fault, exit code 2."`
	Default configDefault `cmd:"" help:"Print the default configuration, every key explained."`
}

type configCheck struct{}

func (configCheck) Run(r *run) error {
	cfg, err := r.load()
	if err == nil {
		err = server.CheckAll(cfg, time.Now())
	}
	if err != nil {
		return err
	}
	r.warn(cfg)
	_, err = fmt.Fprintf(r.streams.Out, "The configuration is fine. The portal will be at %s\n", cfg.PortalURL())
	return err
}

type configDefault struct{}

func (configDefault) Run(r *run) error {
	_, err := fmt.Fprint(r.streams.Out, config.DefaultYAML())
	return err
}
