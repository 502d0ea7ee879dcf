package web

import (
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/page"
)

// activityPageSize is the number of events on one page of the activity list.
const activityPageSize = 30

func (s sessions) getActivity(req *page.Request) error {
	// Read one more event than fits on the page, to know whether there is an older page.
	events, err := audit.List(req.Context(), s.Login.DB.Reader(), req.Me.Account.ID, page.ParseCursor(req.URL.Query().Get("before")), activityPageSize+1)
	if err != nil {
		return err
	}
	data := activityPage{Frame: s.frameOf(req, locale.Say("activity.title"), "activity")}
	if len(events) > activityPageSize {
		events = events[:activityPageSize]
		last := events[len(events)-1]
		data.Older = "/settings/activity?before=" + page.FormatCursor(last)
	}
	var rows []activityRow
	for _, run := range groupTries(events) {
		e := run.last
		text := locale.Say("activity."+string(e.Kind), "how", page.SignInMessage(e.Detail), "name", e.Detail, "n", e.Number)
		if e.Detail == audit.LinkShown && e.Actor != audit.ByOwner {
			text = locale.Say("activity.link_shown", "what", text)
		}
		if run.tries > 1 {
			text = locale.Say("activity.repeated", "what", text, "n", run.tries)
		}
		if e.Actor == audit.ByAdministrator {
			e.Address, e.Browser = "", "" // they are the administrator's, not the owner's
		}
		rows = append(rows, activityRow{
			Text: text, At: e.At, Address: e.Address, Browser: req.BrowserName(e.Browser),
			Alarm: e.Kind.IsAlarming(), Backup: e.Kind == audit.BackupCodeUsed,
		})
	}
	data.Days = groupByDay(rows)
	return s.Render(req, http.StatusOK, "activity", &data)
}

// groupByDay groups the rows by days in UTC, newest first. The script app.js groups them again, by
// days in the user's time zone, which the server doesn't know.
func groupByDay(rows []activityRow) []activityDay {
	var days []activityDay
	for _, row := range rows {
		if n := len(days); n == 0 || !sameDay(days[n-1].At, row.At) {
			days = append(days, activityDay{At: row.At})
		}
		last := &days[len(days)-1]
		last.Events = append(last.Events, row)
	}
	return days
}

// sameDay reports whether two times are on the same day in UTC.
func sameDay(one, other time.Time) bool {
	return one.UTC().Format(time.DateOnly) == other.UTC().Format(time.DateOnly)
}

// runTime is the maximum time between the first and the last try of a run.
const runTime = time.Hour

// run is what one row of the list shows: one event, or a series of failed tries from one browser.
type run struct {
	last  audit.Event // the newest event
	tries int         // 1 for an event that isn't a try
}

// groupTries returns the events, newest first, as runs. Successive failed tries become one run, even
// if events that the server itself adds, such as a notice about wrong codes, are between them.
func groupTries(events []audit.Event) []run {
	var all []run
	open := -1 // index of the run that may continue
	for _, e := range events {
		if open >= 0 && all[open].continues(e) {
			all[open].tries += triesOf(e)
			continue
		}
		all = append(all, run{e, triesOf(e)})
		switch {
		case isTry(e.Kind):
			open = len(all) - 1
		case e.Kind != audit.WrongCodesNoticed && e.Kind != audit.PasswordSuspected:
			open = -1
		}
	}
	return all
}

// continues reports whether an older event belongs to the run.
func (r run) continues(e audit.Event) bool {
	return e.Kind == r.last.Kind && e.Address == r.last.Address && e.Browser == r.last.Browser && r.last.At.Sub(e.At) <= runTime
}

// isTry reports whether an event of this kind is one or more failed tries.
func isTry(kind audit.Kind) bool { return kind == audit.CodeFailed || kind.IsCounted() }

// triesOf returns the number of failed tries that an event represents.
func triesOf(e audit.Event) int {
	if e.Kind.IsCounted() && e.Number > 0 {
		return e.Number
	}
	return 1
}
