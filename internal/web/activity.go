package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/secret"
)

// activityPageSize is how many events fill a page that one still scrolls.
const activityPageSize = 30

func (s *server) getActivity(req *request) error {
	// One more than fits tells whether there is an older page.
	events, err := audit.List(req.Context(), s.Login.DB.Reader(), req.me.Account.ID, cursor(req.URL.Query().Get("before")), activityPageSize+1)
	if err != nil {
		return err
	}
	page := activityPage{frame: s.frameOf(req, say("activity.title"), "activity")}
	if len(events) > activityPageSize {
		events = events[:activityPageSize]
		last := events[len(events)-1]
		page.Older = "/settings/activity?before=" + strconv.FormatInt(last.At.UnixMilli(), 10) + "." + url.QueryEscape(last.ID)
	}
	for _, run := range runs(events) {
		e := run.last
		text := say("activity."+string(e.Kind), "how", how(e.Detail), "name", e.Detail, "n", e.Number)
		if run.tries > 1 {
			text = say("activity.repeated", "what", text, "times", run.tries)
		}
		page.Events = append(page.Events, activityRow{
			Text: text, At: e.At, Address: e.Address, Browser: s.browser(e.Browser),
			Alarm: e.Kind.IsAlarming(), Backup: e.Kind == audit.BackupCodeUsed,
		})
	}
	return s.views.page(req.w, http.StatusOK, "activity", page)
}

// runTime is how long before the last try of a run its first may be: one row stands for
// all of them.
const runTime = time.Hour

// run is an event, or a run of failed tries from one browser.
type run struct {
	last  audit.Event // the newest
	tries int         // 1 for an event that is no try
}

// runs returns the events, newest first, with failed tries that follow one another as one.
// What the server noticed between two tries doesn't end a run.
func runs(events []audit.Event) []run {
	var all []run
	open := -1 // which run may go on
	for _, e := range events {
		if open >= 0 && all[open].goesOn(e) {
			all[open].tries += tries(e)
			continue
		}
		all = append(all, run{e, tries(e)})
		switch {
		case isTry(e.Kind):
			open = len(all) - 1
		case e.Kind != audit.WrongCodesNoticed && e.Kind != audit.PasswordSuspected:
			open = -1
		}
	}
	return all
}

// goesOn reports whether an older event belongs to the run.
func (r run) goesOn(e audit.Event) bool {
	return e.Kind == r.last.Kind && e.Address == r.last.Address && e.Browser == r.last.Browser && r.last.At.Sub(e.At) <= runTime
}

// isTry reports whether an event of this kind is a failed try, or some of them.
func isTry(kind audit.Kind) bool { return kind == audit.CodeFailed || kind.IsCounted() }

// tries returns how many failed tries the event stands for.
func tries(e audit.Event) int {
	if e.Kind.IsCounted() && e.Number > 0 {
		return e.Number
	}
	return 1
}

// how names the ways of signing in, for the sentences that say so.
func how(name string) *message {
	switch name {
	case "password_totp":
		return say("how.password_totp")
	case "password_backup_code":
		return say("how.password_backup_code")
	default:
		return say("how.password")
	}
}

// cursor reads "milliseconds.id"; what can't be read is the first page.
func cursor(text string) audit.Cursor {
	at, id, _ := strings.Cut(text, ".")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !secret.IsID(id) {
		return audit.Cursor{}
	}
	return audit.Cursor{At: time.UnixMilli(ms), ID: id}
}
