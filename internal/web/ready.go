package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/login"
)

const (
	// readyFor is how long an answer of /readyz stands: anybody may ask, and
	// each look writes to the disk.
	readyFor = 2 * time.Second

	// readyTime is how long one look may take; a balancer has given up by then.
	readyTime = 5 * time.Second
)

// readiness is the last look at the portal's health.
type readiness struct {
	mu     sync.Mutex
	at     time.Time
	vitals []login.Vital
}

// look returns the health, at most readyFor old. Whoever asks meanwhile waits
// for the one look.
func (r *readiness) look(ctx context.Context, service *login.Service) []login.Vital {
	r.mu.Lock()
	defer r.mu.Unlock()
	age := service.Clock().Sub(r.at)
	if age < 0 || age >= readyFor {
		// One who hangs up must not leave a bad answer for the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTime)
		defer cancel()
		r.vitals, r.at = service.Health(ctx), service.Clock()
	}
	return r.vitals
}

// getReady says for each thing that signing in needs whether it is well, a line
// each, and 503 where one isn't. Reasons go to the log, since anybody may ask.
func (s *server) getReady(w http.ResponseWriter, r *http.Request) {
	status, lines := http.StatusOK, ""
	vitals := s.ready.look(r.Context(), s.Login)
	if s.Vitals != nil {
		vitals = slices.Concat(vitals, s.Vitals())
	}
	for _, v := range vitals {
		fault := v.Fault
		if fault == "" {
			fault = "ok"
		} else if !v.Minor {
			status = http.StatusServiceUnavailable
			if v.Err != nil {
				s.Log.Warn("not ready", "request", reference(r), "what", v.Name, "reason", cleanReason(v.Err))
			}
		}
		lines += v.Name + ": " + fault + "\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, lines)
}
