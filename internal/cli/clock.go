package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/internal/clock"
)

type clockCommands struct {
	Show   clockShow   `cmd:"" help:"Show the clock and the latest time that was seen." example:"sallyport clock show"`
	Accept clockAccept `cmd:"" help:"Accept the server's clock as it is now, after you corrected it or after it jumped ahead." example:"sallyport clock accept"`
}

type clockShow struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

// clockState is the output of "clock show".
type clockState struct {
	Now           time.Time  `json:"now"` // this machine's clock
	HighWaterMark *time.Time `json:"high_water_mark,omitempty"`
	LeaptAheadTo  *time.Time `json:"leapt_ahead_to,omitempty"`
	Database      *time.Time `json:"database,omitempty"` // PostgreSQL's clock, if this machine's differs
	Codes         string     `json:"codes"`              // taken, refused
	codesReason   string     // text that is printed after Codes
}

func (c clockShow) Run(r *run) error {
	portal, err := r.openPortal()
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
	shown := clockState{Now: now.UTC(), HighWaterMark: timeOrNone(state.HighWater), LeaptAheadTo: timeOrNone(state.LeaptAt), Codes: "taken"}
	if portal.Login.Watch.Off() != 0 {
		shown.Database = timeOrNone(reference)
	}
	switch {
	case portal.Login.Watch.Astray() != 0:
		shown.Codes, shown.codesReason = "refused", ": the clock differs from the database's"
	case state.Behind(reference) > 0:
		shown.Codes, shown.codesReason = "refused", ": the clock is behind the high-water mark"
	case !state.LeaptAt.IsZero():
		shown.codesReason = ", unless the clock was set ahead while the server ran: then refused for an hour, as /readyz shows"
	}
	if c.JSON {
		return json.NewEncoder(r.streams.Out).Encode(shown)
	}
	return shown.print(r.streams.Out)
}

func (s clockState) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "This machine's clock\t%s\nHigh-water mark\t%s\n", formatTime(s.Now), timeOrNever(s.HighWaterMark))
	if s.LeaptAheadTo != nil {
		fmt.Fprintf(table, "Jumped ahead to\t%s, accepted after an hour in which the clock runs evenly\n", formatTime(*s.LeaptAheadTo))
	}
	if s.Database != nil {
		fmt.Fprintf(table, "Database's clock\t%s\n", formatTime(*s.Database))
	}
	fmt.Fprintf(table, "Codes\t%s%s\n", s.Codes, s.codesReason)
	return table.Flush()
}

type clockAccept struct{}

func (clockAccept) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	return printOnSuccess(r, portal.Login.AcceptClock(r), "The server's clock is accepted as it is. A running server notices within 10 seconds.\n")
}
