package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/health"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// health checks everything that sign-ins depend on.
func (p *Portal) health(ctx context.Context) []health.Vital {
	s := p.Login
	vitals := []health.Vital{
		newVital("database", s.DB.Ping(ctx)),
		newVital("key_ring", password.CheckRing(ctx, s.DB.Reader(), s.Ring)),
		newVital("ledger", throttle.Probe(ctx, s.DB)),
	}
	state, err := clock.Read(ctx, s.DB.Reader())
	mark, watch := newVital("clock", err), health.Vital{Name: "clock_watch", Minor: true}
	if by := state.Behind(s.Clock()); by > 0 {
		mark.Fault = fmt.Sprintf("behind by %v; no codes are accepted", by.Round(time.Second))
		mark.Err = login.ErrClock
	}
	if by := s.Watch.Leapt(); by > 0 && state.IsAhead(s.Clock()) {
		mark.Fault = fmt.Sprintf("set ahead by %v; no codes are accepted", by.Round(time.Second))
		mark.Err = login.ErrClock
	}
	if off := s.Watch.Astray(); off != 0 {
		mark.Fault = clock.DescribeOffset(off) + "; no codes are accepted"
		mark.Err = login.ErrClock
	}
	if off := s.Watch.Off(); off != 0 {
		watch.Fault = clock.DescribeOffset(off)
	} else if off := s.Watch.Offset(); off > 0 {
		watch.Fault = fmt.Sprintf("about %v slow, compared with the phones that sign in", off)
	} else if off < 0 {
		watch.Fault = fmt.Sprintf("about %v fast, compared with the phones that sign in", -off)
	} else if n := s.Watch.SetsBack(); n > 0 {
		watch.Fault = fmt.Sprintf("times set back since the start: %d", n)
	}
	vitals = append(vitals, mark, watch, p.auditVital(ctx))
	vitals = append(vitals, p.outboxVitals(ctx)...)
	if loses, err := s.DB.LosesCommits(ctx); loses && err == nil {
		vitals = append(vitals, health.Vital{Name: "standby", Minor: true, Fault: "no standby is synchronous; one that takes over may accept used codes again"})
	}
	return vitals
}

// vitals returns the faults of this process, for /readyz.
func (p *Portal) vitals() []health.Vital {
	var all []health.Vital
	if p.faulty.Load() {
		all = append(all, health.Vital{Name: "configuration", Fault: "faulty; the previous one is in force", Minor: true})
	}
	if p.refusesAll.Load() {
		all = append(all, health.Vital{Name: "trusted_proxies", Fault: refusesAll, Minor: true})
	}
	if p.isTooOld.Load() {
		all = append(all, health.Vital{Name: "version", Fault: "too old for the database; this server stops"})
	}
	if p.Handler.draining.Load() {
		all = append(all, health.Vital{Name: "server", Fault: "draining"})
	}
	if p.certificates != nil {
		if fault := p.certificates.Fault(); fault != "" {
			all = append(all, health.Vital{Name: "certificates", Fault: fault, Minor: true})
		}
	}
	return all
}

// maxSealDelay is the age at which an unsealed audit event is a fault. It is much longer than
// another node needs to take over the sealing from a dead node.
const maxSealDelay = time.Minute

func (p *Portal) auditVital(ctx context.Context) health.Vital {
	oldest, err := audit.Waiting(ctx, p.DB.Reader())
	v := newVital("audit", err)
	v.Minor = true
	if wait := p.Login.Clock().Sub(oldest); err == nil && !oldest.IsZero() && wait > maxSealDelay {
		v.Fault = fmt.Sprintf("some events have been unsealed for %v", wait.Round(time.Second))
	}
	return v
}

func newVital(name string, err error) health.Vital {
	v := health.Vital{Name: name, Err: err}
	switch {
	case err == nil:
	case errors.Is(err, secret.ErrUnknownKey), errors.Is(err, secret.ErrOpen):
		v.Fault = "not the one that the database was written with"
	case errors.Is(err, db.ErrUnavailable):
		v.Fault = "unavailable"
	default:
		v.Fault = "faulty"
	}
	return v
}
