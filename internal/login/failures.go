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
	// maxSingleEvents is how many failures of one kind in an hour get an event each. After
	// that, an event is written whenever the count doubles, so an hour has about 30 events.
	maxSingleEvents = 20

	// maxUnknownEvents limits the events that wrong passwords from unknown browsers can cause
	// per hour and node, over all accounts and networks: 20 MB a day at 400 bytes an event.
	// Further failures are only counted.
	maxUnknownEvents = 2000

	// recordTimeout limits the work after a credential was verified. That work doesn't end when
	// the client disconnects, so it could hang without a limit.
	recordTimeout = 10 * time.Second
)

// detached returns a context that outlives the client's request, for recording the result
// of a try. Otherwise a guesser who disconnects in time would leave no trace.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}

// GiveBack is [throttle.Ledger.GiveBack] for a try that wasn't evaluated, even if the client
// has disconnected.
func (s *Service) GiveBack(ctx context.Context, r throttle.Reservation) error {
	ctx, done := detached(ctx)
	defer done()
	return s.Ledger.GiveBack(ctx, r)
}

// failure is the key under which failures are counted: wrong passwords by account and network,
// other failures only by account.
type failure struct {
	account, network string
	kind             audit.Kind
}

// failures counts the failures of the current hour in this process. Its zero value is ready
// to use. It is safe for concurrent use.
type failures struct {
	mu            sync.Mutex
	hour          time.Time
	counts        map[failure]int
	unknown       int // wrong passwords from unknown browsers
	unknownEvents int // events written for them
}

// count counts a failure under key. The result event reports whether to write an audit event.
// That event stands for number failures of this hour, or only for this failure if number is 0.
// If ofAll is true, number covers all accounts and networks, so the event must name neither.
func (f *failures) count(now time.Time, key failure, unknownBrowser bool) (number int, ofAll, event bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if hour := now.Truncate(time.Hour); !hour.Equal(f.hour) {
		f.hour, f.counts, f.unknown, f.unknownEvents = hour, map[failure]int{}, 0, 0
	}
	if unknownBrowser {
		f.unknown++
		if f.unknownEvents >= maxUnknownEvents {
			// Counting these failures by account and network would take unlimited memory.
			return f.unknown, true, f.unknown > maxUnknownEvents && isDoubling(f.unknown, maxUnknownEvents)
		}
	}
	f.counts[key]++
	n := f.counts[key]
	if n > maxSingleEvents {
		number, event = n, isDoubling(n, maxSingleEvents)
	} else {
		event = true
	}
	if unknownBrowser && event {
		f.unknownEvents++
	}
	return number, false, event
}

// isDoubling reports whether n is first, 2·first, 4·first and so on.
func isDoubling(n, first int) bool {
	for ; n > first && n%2 == 0; n /= 2 {
	}
	return n == first
}

// recordFailure writes the audit event of a failure in its own transaction, or only counts the
// failure if there were too many.
func (s *Service) recordFailure(ctx context.Context, e audit.Event, known device.Device, from Browser) error {
	key, unknownBrowser := failure{account: e.AccountID, kind: e.Kind}, false
	if e.Kind == audit.SignInFailed {
		key.network, unknownBrowser = throttle.WidePrefixOf(from.Address), known.ID == ""
	}
	number, ofAll, event := s.failures.count(e.At, key, unknownBrowser)
	if !event {
		return nil
	}
	e.Number, e.Outcome = number, audit.Refused
	if ofAll {
		e.AccountID, e.Actor, e.Address, e.Browser = "", audit.ByServer, "", ""
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error { return s.Journal.Record(ctx, tx, e) })
}
