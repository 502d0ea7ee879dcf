package cli

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/server"
)

type initCommand struct{}

// Run creates the missing parts of the portal. It doesn't change existing ones.
func (initCommand) Run(r *run) error {
	cfg, err := r.readConfig()
	if err != nil {
		return err
	}
	parts, err := server.CreateMissing(r, cfg, time.Now, r.logger(cfg.LogLevel, cfg.LogFormat))
	if err != nil {
		return err
	}
	fmt.Fprintf(r.streams.Out, "%s\n", r.describeConfig(cfg))
	newRing := false
	for _, part := range parts {
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
