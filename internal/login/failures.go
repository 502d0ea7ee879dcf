package login

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/throttle"
)

const (
	// failuresSingly of one kind in an hour are events of their own; then each
	// event stands for as many as all before it, so that an hour has some 30.
	failuresSingly = 20

	// strangersFailures are the events in an hour that wrong passwords from unknown
	// browsers may write on one node, of all accounts and networks: 20 MB a day, at
	// 400 bytes each. Further ones are counted.
	strangersFailures = 2000

	// afterVerdict is how long what follows a verdict may take once its client is
	// gone: it must be written, and must not hold the server up for ever.
	afterVerdict = 10 * time.Second
)

// regardless returns a context for what follows a verdict. It is written whether the
// client waits or not: else whoever hangs up in time leaves no trace.
func regardless(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), afterVerdict)
}

// giveBack is [throttle.Ledger.GiveBack] for a try that ended without a verdict of its
// own; the client may have gone.
func (s *Service) giveBack(ctx context.Context, r throttle.Reservation) error {
	ctx, done := regardless(ctx)
	defer done()
	return s.Ledger.GiveBack(ctx, r)
}

// failure names what is counted together: wrong passwords of an account from one
// network, other failures of an account from anywhere.
type failure struct {
	account, network string
	kind             audit.Kind
}

// failures counts failures of the current hour, in this process. Its zero value is
// ready. It is safe for concurrent use.
type failures struct {
	mu        sync.Mutex
	hour      time.Time
	counts    map[failure]int
	strangers int // wrong passwords from unknown browsers
	told      int // events of them
}

// note counts a failure and reports whether to write an event for it. The event stands
// for number failures of this hour, or for this one alone if that is 0. ofAll says that
// they are those of all accounts and networks, so that the event must name none.
func (f *failures) note(now time.Time, of failure, stranger bool) (number int, ofAll, event bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if hour := now.Truncate(time.Hour); !hour.Equal(f.hour) {
		f.hour, f.counts, f.strangers, f.told = hour, map[failure]int{}, 0, 0
	}
	if stranger {
		f.strangers++
		if f.told >= strangersFailures {
			// Too many to tell them apart, or to remember.
			return f.strangers, true, f.strangers > strangersFailures && doubles(f.strangers, strangersFailures)
		}
	}
	f.counts[of]++
	n := f.counts[of]
	if n > failuresSingly {
		number, event = n, doubles(n, failuresSingly)
	} else {
		event = true
	}
	if stranger && event {
		f.told++
	}
	return number, false, event
}

// doubles reports whether n is first·2, first·4, first·8 and so on.
func doubles(n, first int) bool {
	for ; n > first && n%2 == 0; n /= 2 {
	}
	return n == first
}

// failed writes the event of a failure, in a transaction of its own, unless it is one
// of too many.
func (s *Service) failed(ctx context.Context, e audit.Event, known device.Device, from Browser) error {
	of, stranger := failure{account: e.AccountID, kind: e.Kind}, false
	if e.Kind == audit.SignInFailed {
		of.network, stranger = throttle.WidePrefixOf(from.Address), known.ID == ""
	}
	number, ofAll, event := s.failures.note(e.At, of, stranger)
	if !event {
		return nil
	}
	e.Number, e.Outcome = number, audit.Refused
	if ofAll {
		e.AccountID, e.Actor, e.Address, e.Browser = "", audit.ByServer, "", ""
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error { return audit.Append(ctx, tx, e) })
}
