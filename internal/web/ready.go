package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/health"
	"github.com/sallyport/sallyport/internal/page"
)

const (
	// readyFor is how long the result of a check is cached. Any client can request /readyz, and
	// each check writes to the disk.
	readyFor = 2 * time.Second

	// readyTime is the timeout of a check. Load balancers usually don't wait for longer.
	readyTime = 5 * time.Second
)

// readiness caches the result of the last check of the portal's health.
type readiness struct {
	mu     sync.Mutex
	at     time.Time
	vitals []health.Vital
}

// check returns a result that is no older than readyFor. Concurrent calls wait for the same check.
func (r *readiness) check(ctx context.Context, o Options) []health.Vital {
	r.mu.Lock()
	defer r.mu.Unlock()
	age := o.Login.Clock().Sub(r.at)
	if age < 0 || age >= readyFor {
		// A client that closes its connection mustn't cancel the check for other clients.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTime)
		defer cancel()
		r.vitals, r.at = o.Health(ctx), o.Login.Clock()
	}
	return r.vitals
}

// getReady answers with a line for each part of the server that a sign-in needs. The status is
// 503 if one of these parts fails. The reason is only in the log, since any client can request
// the page.
func (s *server) getReady(w http.ResponseWriter, r *http.Request) {
	status, lines := http.StatusOK, ""
	for _, v := range slices.Concat(s.ready.check(r.Context(), s.Options), s.Vitals()) {
		fault := v.Fault
		if fault == "" {
			fault = "ok"
		} else if !v.Minor {
			status = http.StatusServiceUnavailable
			if v.Err != nil {
				s.Log.Warn("not ready", "request", page.Reference(r), "what", v.Name, "reason", page.CleanReason(v.Err))
			}
		}
		lines += v.Name + ": " + fault + "\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, lines)
}
