package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/sallyport/sallyport/internal/clock"
)

type clockCommands struct {
	Show   clockShow   `cmd:"" help:"Show the clock and the latest time that was seen."`
	Accept clockAccept `cmd:"" help:"Believe the server's clock as it is now: after you set it right, or after it leapt."`
}

type clockShow struct{}

func (clockShow) Run(r *run) error {
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	state, err := clock.Read(r, portal.DB.Reader())
	if err != nil {
		return err
	}
	reference := portal.Login.Clock()
	now := reference.Add(portal.Login.Watch.Ahead())
	table := tabwriter.NewWriter(r.streams.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "This machine's clock\t%s\nHigh-water mark\t%s\n", at(now), at(state.HighWater))
	if !state.LeaptAt.IsZero() {
		fmt.Fprintf(table, "Leapt ahead to\t%s, believed after an even hour\n", at(state.LeaptAt))
	}
	if portal.Login.Watch.Off() != 0 {
		fmt.Fprintf(table, "Database's clock\t%s\n", at(reference))
	}
	switch {
	case portal.Login.Watch.Astray() != 0:
		fmt.Fprintf(table, "Codes\trefused: the clock is not the database's\n")
	case state.Behind(reference) > 0:
		fmt.Fprintf(table, "Codes\trefused: the clock is behind the mark\n")
	case !state.LeaptAt.IsZero():
		fmt.Fprintf(table, "Codes\ttaken, unless the clock was set ahead while the server ran: then refused for an hour (/readyz says)\n")
	default:
		fmt.Fprintf(table, "Codes\ttaken\n")
	}
	return table.Flush()
}

type clockAccept struct{}

func (clockAccept) Run(r *run) error {
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	return report(r, portal.Login.AcceptClock(r), "The server's clock is believed as it is; a running server looks at it within 10 seconds.\n")
}
