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

// Vital is the state of one thing that sign-ins depend on.
type Vital struct {
	Name  string
	Fault string // public text; empty if there is no fault
	Err   error  // the cause, to be logged; nil if it was logged elsewhere or there is none
	Minor bool   // sign-ins work in spite of the fault
}

// Health checks everything that sign-ins depend on.
func (s *Service) Health(ctx context.Context) []Vital {
	vitals := []Vital{
		newVital("database", s.DB.Ping(ctx)),
		newVital("key_ring", password.CheckRing(ctx, s.DB.Reader(), s.Ring)),
		newVital("ledger", throttle.Probe(ctx, s.DB)),
	}
	state, err := clock.Read(ctx, s.DB.Reader())
	mark, watch := newVital("clock", err), Vital{Name: "clock_watch", Minor: true}
	if by := state.Behind(s.Clock()); by > 0 {
		mark.Fault = fmt.Sprintf("behind by %v; no codes are accepted", by.Round(time.Second))
		mark.Err = ErrClock
	}
	if by := s.Watch.Leapt(); by > 0 && state.IsAhead(s.Clock()) {
		mark.Fault = fmt.Sprintf("set ahead by %v; no codes are accepted", by.Round(time.Second))
		mark.Err = ErrClock
	}
	if off := s.Watch.Astray(); off != 0 {
		mark.Fault = describeOffset(off) + "; no codes are accepted"
		mark.Err = ErrClock
	}
	if off := s.Watch.Off(); off != 0 {
		watch.Fault = describeOffset(off)
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

// describeOffset describes how far the clock is from the database's.
func describeOffset(ahead time.Duration) string {
	if ahead < 0 {
		return fmt.Sprintf("%v behind the database's", -ahead.Round(time.Second))
	}
	return fmt.Sprintf("%v ahead of the database's", ahead.Round(time.Second))
}

// maxSealDelay is the age at which an unsealed audit event is a fault. It is much longer than
// another node needs to take the sealing over from a dead one.
const maxSealDelay = time.Minute

func (s *Service) auditVital(ctx context.Context) Vital {
	oldest, err := audit.Waiting(ctx, s.DB.Reader())
	v := newVital("audit", err)
	v.Minor = true
	if wait := s.Clock().Sub(oldest); err == nil && !oldest.IsZero() && wait > maxSealDelay {
		v.Fault = fmt.Sprintf("some events have been unsealed for %v", wait.Round(time.Second))
	}
	return v
}

// checkClock returns [ErrClock] if the server's clock is so wrong that codes of another time
// would be accepted. unsure reports that the clock may be ahead: at the start it was more
// than ten minutes past the high-water mark, either because no server ran for that long or
// because the machine's date is wrong.
func (s *Service) checkClock(ctx context.Context, q db.Querier) (unsure bool, err error) {
	if off := s.Watch.Astray(); off != 0 {
		return false, fmt.Errorf("%w: it is %s", ErrClock, describeOffset(off))
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

// CodesRefused reports whether codes are refused because the server's clock is wrong.
func (s *Service) CodesRefused(ctx context.Context) (bool, error) {
	_, err := s.checkClock(ctx, s.DB.Reader())
	if errors.Is(err, ErrClock) {
		return true, nil
	}
	return false, err
}

// ClockOffset returns how far the server's clock is behind those of the phones that sign in,
// in whole steps; it is negative if the server's clock is ahead.
func (s *Service) ClockOffset() time.Duration {
	return time.Duration(s.Watch.Offset()) * totp.Period
}

func newVital(name string, err error) Vital {
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
