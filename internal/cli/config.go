package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/server"
)

type configCommands struct {
	Check   configCheck   `cmd:"" help:"Check the configuration, and print every fault. Exit code 2 if there are any." example:"sallyport config check --config sallyport.yaml"`
	Show    configShow    `cmd:"" help:"Print the configuration that is in force and where each key comes from, without secrets." example:"sallyport config show"`
	Default configDefault `cmd:"" help:"Print the default configuration, every key explained." example:"sallyport config default > sallyport.yaml"`
}

type configCheck struct{}

func (configCheck) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err == nil {
		err = server.CheckAll(cfg, time.Now())
	}
	if err != nil {
		return err
	}
	r.printWarnings(cfg)
	r.printPolicy(cfg)
	_, err = fmt.Fprintf(r.streams.Out, "The configuration is fine. The portal will be at %s\n", cfg.PortalURL())
	return err
}

// printPolicy prints how many accounts the policies of a configuration concern. If there is no
// portal, there are no accounts.
func (r *run) printPolicy(cfg config.Config) {
	all, now, err := server.CheckPolicy(r, cfg, time.Now())
	if err != nil && !errors.Is(err, maintenance.ErrNoPortal) {
		fmt.Fprintf(r.streams.Err, "The accounts that policy concerns couldn't be counted: %v\n", err)
	}
	for _, one := range all {
		fmt.Fprintf(r.streams.Out, "%s: %s\n", one.Key, one.Sentence(now))
	}
}

type configShow struct{}

func (configShow) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	text, err := r.places.Show(cfg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, "# %s\n%s", r.describeConfig(cfg), text)
	return err
}

type configDefault struct{}

func (configDefault) Run(r *run) error {
	_, err := fmt.Fprint(r.streams.Out, config.DefaultYAML())
	return err
}
