package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// maxBody is the maximum size of a form. The largest form has a password of 1 KiB and a
	// return URL.
	maxBody = 64 << 10

	// requestTime is the timeout of a request. It includes the waits in the hashing queue and for
	// the database.
	requestTime = 20 * time.Second
)

// SiteOptions are the parameters of [NewSite].
type SiteOptions struct {
	Options               // of the pages; NewSite sets Portal
	PublicURL      string // of the portal, without a slash at its end
	TrustedProxies access.Proxies
	Log            *slog.Logger
	Clock          func() time.Time
	// Measure is called after every answer; it may be nil. route is the pattern of a route,
	// never the requested path.
	Measure  func(route string, status int, took time.Duration)
	HasAdmin bool // the portal has the pages below /admin
	// Fail answers a request that failed with the error, by [Site.ShowFault] or a redirect.
	Fail func(*Request, error)
}

// Site has what the pages of a door need to answer requests: [Views], cookies, redirects, error
// pages and headers. Concurrent use is safe.
type Site struct {
	SiteOptions
	*Views
	Origin *url.URL // the public URL
	HTTPS  bool     // of the public URL

	unreadable sync.Once // logs the first value in X-Forwarded-For that isn't an address
}

// NewSite returns the site at the public URL. If o.Base is empty, its static files are below the
// path of that URL.
func NewSite(o SiteOptions) (*Site, error) {
	origin, err := url.Parse(o.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	o.Portal = origin.Path
	if o.Base == "" {
		o.Base = origin.Path + "/"
	}
	views, err := NewViews(o.Options)
	if err != nil {
		return nil, err
	}
	return &Site{SiteOptions: o, Views: views, Origin: origin, HTTPS: origin.Scheme == "https"}, nil
}

// Redirect redirects to a path of the portal with status 303. query has pairs of names and
// values. The URL is built from the configuration, never from the request (R20).
func (s *Site) Redirect(req *Request, path string, query ...string) {
	target, err := url.Parse(s.PublicURL + path)
	if err != nil {
		target = s.Origin
	}
	values := target.Query()
	for i := 0; i+1 < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	target.RawQuery = values.Encode()
	http.Redirect(req.W, req.Request, target.String(), http.StatusSeeOther)
}

// Wrap adds what every answer needs: security headers, time and size limits, a reference id, a
// log line, and an error page if the handler panics (F9).
func (s *Site) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		r = r.WithContext(withReference(ctx))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)

		h := w.Header()
		h.Set("Content-Security-Policy", access.PagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // with a stricter policy, browsers send Origin: null with forms
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store") // the handler of static files replaces it
		if s.HTTPS {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}

		answer := &statusRecorder{ResponseWriter: w}
		start := s.Clock()
		defer func() {
			if crash := recover(); crash != nil {
				s.Log.Error("panic", "request", Reference(r), "host", Clean(r.Host), "path", Clean(r.URL.Path), "panic", fmt.Sprint(crash), "stack", string(debug.Stack()))
				if answer.status == 0 {
					s.Fail(s.NewRequest(answer, r), errors.New("panic"))
				}
			}
			took := s.Clock().Sub(start)
			if s.Measure != nil {
				s.Measure(r.Pattern, answer.status, took)
			}
			s.Log.Debug("request", "request", Reference(r), "method", Clean(r.Method), "host", Clean(r.Host), "path", Clean(r.URL.Path),
				"status", answer.status, "address", s.TrustedProxies.Address(r).String(), "took", took)
		}()
		next.ServeHTTP(answer, r)
	})
}
