package page

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Errors that doors detect themselves.
var (
	ErrNotFound    = errors.New("no such page")
	ErrForbidden   = errors.New("forbidden")
	ErrCrossOrigin = errors.New("form from another origin")
	ErrBadForm     = errors.New("form can't be read")
	ErrMisdirected = errors.New("request for another host")
)

// WithReason returns fault joined with reason, or only fault if reason is nil.
func WithReason(fault, reason error) error {
	if reason == nil {
		return fault
	}
	return fmt.Errorf("%w: %w", fault, reason)
}

// Fault is what the page of an error says.
type Fault struct {
	Status   int
	Heading  *locale.Message
	Advice   *locale.Message // what the user can do
	LinkURL  string          // absolute, or "/" for the portal's first page; empty: no link
	LinkText *locale.Message
	HomeURL  string        // URL of the list of panels, as a second link; may be empty
	SignOut  string        // path to which the sign-out form is submitted; empty: no form
	Retry    time.Duration // for the header Retry-After; 0: no header
}

// NewFault returns a fault whose page has a heading, advice and a link to the portal's first page.
func NewFault(status int, heading, advice *locale.Message) Fault {
	return Fault{Status: status, Heading: heading, Advice: advice, LinkURL: "/", LinkText: locale.Say("error.home")}
}

// WithLink returns the fault with another link. If url is empty, the page has no link.
func (f Fault) WithLink(url string, text *locale.Message) Fault {
	f.LinkURL, f.LinkText = url, text
	return f
}

// retryBusy is the Retry-After for a full hashing queue: by then, the queue's current jobs are done.
const retryBusy = 2 * time.Second

// FaultOf returns the fault for an error that any door can have. For all other errors it returns the
// fault of an internal error, with status 500.
func (s *Site) FaultOf(err error) Fault {
	var wait *login.WaitError
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, login.ErrGone):
		return NewFault(http.StatusNotFound, locale.Say("error.not_found.heading"), locale.Say("error.not_found.advice"))
	case errors.Is(err, ErrForbidden):
		return NewFault(http.StatusForbidden, locale.Say("error.forbidden.heading"), locale.Say("error.forbidden.advice"))
	case errors.Is(err, ErrCrossOrigin):
		return NewFault(http.StatusForbidden, locale.Say("error.cross_origin.heading"), locale.Say("error.cross_origin.advice"))
	case errors.Is(err, ErrBadForm):
		return NewFault(http.StatusBadRequest, locale.Say("error.bad_request.heading"), locale.Say("error.bad_request.advice"))
	case isTooLarge(err):
		return NewFault(http.StatusRequestEntityTooLarge, locale.Say("error.too_large.heading"), locale.Say("error.too_large.advice"))
	case errors.Is(err, ErrMisdirected):
		f := NewFault(http.StatusMisdirectedRequest, locale.Say("error.misdirected.heading"), locale.Say("error.misdirected.advice", "url", s.PublicURL))
		return f.WithLink(s.PublicURL, locale.Say("error.open"))
	case errors.As(err, &wait):
		f := NewFault(http.StatusTooManyRequests, locale.Say("error.too_many.heading"), locale.Say("error.too_many.advice", "n", Seconds(wait.RetryAfter)))
		if wait.Change {
			f.Heading, f.Advice = locale.Say("error.many_changes.heading"), locale.Say("error.many_changes.advice")
		}
		f.Retry = max(wait.RetryAfter, 1) // every 429 has the header
		return f
	case errors.Is(err, throttle.ErrQueueFull), errors.Is(err, throttle.ErrBusy):
		f := NewFault(http.StatusServiceUnavailable, locale.Say("error.busy.heading"), locale.Say("error.busy.advice"))
		f.Retry = retryBusy
		return f
	case errors.Is(err, db.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		f := NewFault(http.StatusServiceUnavailable, locale.Say("error.unavailable.heading"), locale.Say("error.unavailable.advice"))
		f.Retry = retryBusy
		return f
	}
	return NewFault(http.StatusInternalServerError, locale.Say("error.internal.heading"), locale.Say("error.internal.advice"))
}

// ShowFault answers a request that failed with err. The page shows f, which says what the user can
// do. The log gets the reason, with the page's reference and the attributes in about.
func (s *Site) ShowFault(req *Request, f Fault, err error, about []any) {
	if f.Retry > 0 {
		req.W.Header().Set("Retry-After", strconv.Itoa(Seconds(f.Retry)))
	}
	level := s.Log.Warn
	if f.Status >= http.StatusInternalServerError {
		level = s.Log.Error
	}
	line := append([]any{"request", Reference(req.Request), "status", f.Status, "method", Clean(req.Method)}, about...)
	level("refused", append(line, "path", Clean(req.URL.Path), "address", req.From.Address.String(), "reason", CleanReason(err))...)
	if f.LinkURL == "/" {
		f.LinkURL = s.PublicURL + "/"
	}
	page := ErrorPage{
		Frame: Frame{Title: f.Heading}, Advice: f.Advice,
		LinkURL: f.LinkURL, LinkText: f.LinkText, HomeURL: f.HomeURL, SignOut: f.SignOut, Reference: Reference(req.Request),
	}
	if err := s.Render(req, f.Status, "error", &page); err != nil {
		s.Log.Error("error page", "request", Reference(req.Request), "reason", err)
		http.Error(req.W, http.StatusText(f.Status), f.Status)
	}
}

// CleanReason returns the text of an error on one line, with ": " between joined errors.
func CleanReason(err error) string { return Clean(strings.ReplaceAll(err.Error(), "\n", ": ")) }

// Seconds returns d in seconds, rounded up, so that a client that retries then isn't too early.
func Seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
