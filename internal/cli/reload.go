package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/server"
)

type reloadCommand struct{}

// Run checks the configuration first, so that faults are printed here, and then signals the
// running server to read it.
func (reloadCommand) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	if err := server.CheckAll(cfg, time.Now()); err != nil {
		return err
	}
	r.printWarnings(cfg)
	process, err := server.SignalReload(cfg.DataDir)
	if errors.Is(err, server.ErrNotRunning) {
		return fmt.Errorf("%w with data_dir %s; start one with \"sallyport serve\"", err, cfg.DataDir)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, "Process %d is reading its configuration again. Its log and /readyz say if something is wrong.\n", process)
	return err
}
