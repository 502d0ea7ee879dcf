package server

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/health"
	"github.com/sallyport/sallyport/internal/journal"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
)

// newJournal returns a journal that stores notices as messages, of every kind that the pump can send.
func newJournal(ring *secret.Ring, pump *outbox.Pump) journal.Journal {
	return journal.Journal{Ring: ring, Tells: func(by outbox.Kind, k notice.Kind) bool { return pump.Wants(by, string(k)) }}
}

// registerOutbox adds the metrics of messages, and returns the function by which the pump reports
// each try.
func (m *metrics) registerOutbox(count func(context.Context) ([]outbox.Waiting, error), now func() time.Time) func(outbox.Kind, outbox.Class) {
	sum := func(of func(outbox.Waiting) float64, join func(a, b float64) float64) func() float64 {
		return func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
			defer cancel()
			all, err := count(ctx)
			if err != nil {
				return math.NaN() // unknown
			}
			total := 0.0
			for _, w := range all {
				total = join(total, of(w))
			}
			return total
		}
	}
	m.registry.AddGauge("sallyport_outbox_waiting", "Mails and requests to webhooks that wait to be sent.",
		sum(func(w outbox.Waiting) float64 { return float64(w.N) }, func(a, b float64) float64 { return a + b }))
	m.registry.AddGauge("sallyport_outbox_oldest_seconds", "How long the oldest message has waited; 0: none waits.",
		sum(func(w outbox.Waiting) float64 { return now().Sub(w.Oldest).Seconds() }, func(a, b float64) float64 { return max(a, b) }))
	tries := m.registry.AddCounters("sallyport_outbox_tries_total", "Tries to send a mail or a request to a webhook, by kind and outcome: sent, or the class of the failure.", "kind", "outcome")
	for _, kind := range outbox.Kinds() {
		for _, class := range append([]outbox.Class{sentLabel}, outbox.Classes()...) {
			tries.With(string(kind), string(class))
		}
	}
	return func(kind outbox.Kind, class outbox.Class) {
		if class == "" {
			class = sentLabel
		}
		tries.With(string(kind), string(class)).Inc()
	}
}

// sentLabel is the value of the label outcome for a message that was sent.
const sentLabel = "sent"

// maxWait is the age from which an unsent message is reported to operators. By then, four tries have
// failed.
const maxWait = time.Hour

// outboxVitals returns the faults that keep messages from being sent. They don't affect sign-ins.
func (p *Portal) outboxVitals(ctx context.Context) []health.Vital {
	var all []health.Vital
	faults := p.Outbox.Faults()
	waiting, err := outbox.Count(ctx, p.DB.Reader())
	if err != nil {
		return nil // other vitals say that the database doesn't answer
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
