package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Vital is one thing that signing in needs, and how it is.
type Vital struct {
	Name  string
	Fault string // fit for anybody to read; empty: it is well
	Err   error  // what the log gets; nil: it knows
	Minor bool   // the fault keeps nobody from signing in
}

// Health looks at everything that signing in needs.
func (s *Service) Health(ctx context.Context) []Vital {
	vitals := []Vital{
		vital("database", s.DB.Ping(ctx)),
		vital("key_ring", password.CheckRing(ctx, s.DB.Reader(), s.Ring)),
		vital("ledger", throttle.Probe(ctx, s.DB)),
	}
	state, err := clock.Read(ctx, s.DB.Reader())
	mark, watch := vital("clock", err), Vital{Name: "clock_watch", Minor: true}
	if by := state.Behind(s.Clock()); by > 0 {
		mark.Fault = fmt.Sprintf("behind by %v; no codes are accepted", by.Round(time.Second))
		mark.Err = ErrClock
	}
	if by := s.Watch.Leapt(); by > 0 && state.IsAhead(s.Clock()) {
		mark.Fault = fmt.Sprintf("set ahead by %v; no codes are accepted", by.Round(time.Second))
		mark.Err = ErrClock
	}
	if off := s.Watch.Astray(); off != 0 {
		mark.Fault = fromDatabase(off) + "; no codes are accepted"
		mark.Err = ErrClock
	}
	if off := s.Watch.Off(); off != 0 {
		watch.Fault = fromDatabase(off)
	} else if off := s.ClockOffset(); off > 0 {
		watch.Fault = fmt.Sprintf("about %v slow, compared with the phones that sign in", off)
	} else if off < 0 {
		watch.Fault = fmt.Sprintf("about %v fast, compared with the phones that sign in", -off)
	} else if n := s.Watch.SetsBack(); n > 0 {
		watch.Fault = fmt.Sprintf("times set back since the start: %d", n)
	}
	vitals = append(vitals, mark, watch, s.auditVital(ctx))
	if loses, err := s.DB.LosesCommits(ctx); loses && err == nil {
		vitals = append(vitals, Vital{Name: "standby", Minor: true, Fault: "no standby is synchronous; one that takes over may accept used codes again"})
	}
	return vitals
}

// fromDatabase says how far the clock is from the database's.
func fromDatabase(ahead time.Duration) string {
	if ahead < 0 {
		return fmt.Sprintf("%v behind the database's", -ahead.Round(time.Second))
	}
	return fmt.Sprintf("%v ahead of the database's", ahead.Round(time.Second))
}

// sealLate is how long an audit event may wait to be sealed: far longer than a
// node takes to take over from one that died.
const sealLate = time.Minute

func (s *Service) auditVital(ctx context.Context) Vital {
	oldest, err := audit.Waiting(ctx, s.DB.Reader())
	v := vital("audit", err)
	v.Minor = true
	if wait := s.Clock().Sub(oldest); err == nil && !oldest.IsZero() && wait > sealLate {
		v.Fault = fmt.Sprintf("some events have been unsealed for %v", wait.Round(time.Second))
	}
	return v
}

// checkClock returns [ErrClock] where codes of another time would be right. unsure
// says that the clock may be ahead: after a start it is more than ten minutes past
// the mark, since no server ran for so long or since the machine has a wrong date.
func (s *Service) checkClock(ctx context.Context, q db.Querier) (unsure bool, err error) {
	if off := s.Watch.Astray(); off != 0 {
		return false, fmt.Errorf("%w: it is %s", ErrClock, fromDatabase(off))
	}
	state, err := clock.Read(ctx, q)
	if err != nil {
		return false, err
	}
	now := s.Clock()
	if by := state.Behind(now); by > 0 {
		return false, fmt.Errorf("%w: it is %v behind", ErrClock, by.Round(time.Second))
	}
	unsure = state.IsAhead(now)
	if by := s.Watch.Leapt(); unsure && by > 0 {
		return true, fmt.Errorf("%w: it was set %v ahead", ErrClock, by.Round(time.Second))
	}
	return unsure, nil
}

// CodesRefused reports whether no code is taken because of the server's clock.
func (s *Service) CodesRefused(ctx context.Context) (bool, error) {
	_, err := s.checkClock(ctx, s.DB.Reader())
	if errors.Is(err, ErrClock) {
		return true, nil
	}
	return false, err
}

// ClockOffset returns how far the server's clock is behind those of the phones
// that sign in, in whole steps; negative, ahead of them.
func (s *Service) ClockOffset() time.Duration {
	return time.Duration(s.Watch.Offset()) * totp.Period
}

func vital(name string, err error) Vital {
	v := Vital{Name: name, Err: err}
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
