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
	for _, e := range events {
		text := say("activity."+string(e.Kind), "how", how(e.Detail), "name", e.Detail, "n", e.Number)
		if e.Number > 0 && e.Kind.Counted() {
			text = say("activity.repeated", "what", text, "times", e.Number)
		}
		page.Events = append(page.Events, activityRow{
			Text: text,
			At:   e.At, Address: e.Address, Browser: s.browser(e.Browser), Alarm: e.Kind.Alarming(),
		})
	}
	return s.views.page(req.w, http.StatusOK, "activity", page)
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
