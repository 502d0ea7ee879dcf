package cli

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/server"
)

type initCommand struct{}

// Run makes what is missing; what is there stays as it is.
func (initCommand) Run(r *run) error {
	cfg, err := r.read()
	if err != nil {
		return err
	}
	made, err := server.CreateMissing(r, cfg, time.Now, r.logger(cfg.LogLevel, cfg.LogFormat))
	if err != nil {
		return err
	}
	fmt.Fprintf(r.streams.Out, "%s\n", r.describeConfig(cfg))
	newRing := false
	for _, part := range made {
		what := part.What
		if part.Path != "" {
			what += " " + part.Path
		}
		if part.New {
			newRing = newRing || part.What == server.KeyRingPart
			fmt.Fprintf(r.streams.Out, "Made the %s\n", what)
		} else {
			fmt.Fprintf(r.streams.Out, "The %s was there already\n", what)
		}
	}
	if newRing {
		fmt.Fprintf(r.streams.Out, "Keep a copy of the key ring apart from the database: without it nobody can sign in.\n")
	}
	_, err = fmt.Fprintf(r.streams.Out, "Next: \"sallyport serve\" prints a link that creates the first account.\n")
	return err
}
