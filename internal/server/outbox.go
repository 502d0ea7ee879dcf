package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/health"
	"github.com/sallyport/sallyport/internal/journal"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
)

// newJournal returns the journal that tells owners what the pump has a sender for.
func newJournal(ring *secret.Ring, pump *outbox.Pump) journal.Journal {
	return journal.Journal{Ring: ring, Tells: func(by outbox.Kind, k notice.Kind) bool { return pump.Wants(by, string(k)) }}
}

// maxWait is the age of an unsent message at which operators are told: by then it was tried four
// times.
const maxWait = time.Hour

// outboxVitals returns what keeps messages from being sent; none if all is well. They don't keep
// anybody from signing in.
func (p *Portal) outboxVitals(ctx context.Context) []health.Vital {
	var all []health.Vital
	faults := p.Outbox.Faults()
	waiting, err := outbox.Count(ctx, p.DB.Reader())
	if err != nil {
		v := newVital("outbox", err)
		v.Minor = true
		return append(all, v)
	}
	for _, kind := range outbox.Kinds() {
		v := health.Vital{Name: string(kind), Fault: faults[kind], Minor: true}
		i := slices.IndexFunc(waiting, func(w outbox.Waiting) bool { return w.Kind == kind })
		if i >= 0 && v.Fault == "" {
			if age := p.Login.Clock().Sub(waiting[i].Oldest); age > maxWait {
				v.Fault = fmt.Sprintf("%d unsent, the oldest for %v; see \"sallyport mail queue list\"", waiting[i].N, age.Round(time.Minute))
			}
		}
		if i >= 0 || v.Fault != "" || p.Outbox.Has(kind) {
			all = append(all, v)
		}
	}
	return all
}
