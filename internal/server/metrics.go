package server

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/metric"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Bounds of the histograms' buckets, in seconds. A password hash takes about 0.05 s, the
// last request in a full queue waits about 2 s, and no request waits more than 20 s.
var (
	waitBuckets    = []float64{.001, .01, .05, .1, .25, .5, 1, 2, 5, 20}
	requestBuckets = []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 10}
)

// metrics counts events for Prometheus. The values of labels are constants and route patterns, never
// input of a client. So their number is limited, and they contain no secrets.
type metrics struct {
	registry      metric.Registry
	signIns       *metric.Vector[*metric.Counter]
	secondFactors *metric.Vector[*metric.Counter]
	refusals      *metric.Vector[*metric.Counter]
	waits         *metric.Histogram
	requests      *metric.Vector[*metric.Histogram]
	checks        *metric.Vector[*metric.Counter]
}

// verdictLabels has the values of the label outcome of sallyport_panel_checks_total, by
// [access.Verdict].
var verdictLabels = [...]string{access.Deny: "denied", access.Admit: "admitted", access.SignIn: "sign_in", access.Reauthenticate: "reauthenticate", access.Enroll: "enroll"}

// unavailableLabel is the value of the label outcome for a check that the database didn't answer.
const unavailableLabel = "unavailable"

// scrapeTime is how long a scrape may wait for the database. Prometheus gives up a scrape
// after ten seconds by default.
const scrapeTime = 5 * time.Second

func newMetrics(queue *throttle.Queue, watch *clock.Watch, unsealed func(context.Context) (time.Time, error), now func() time.Time) *metrics {
	m := &metrics{}
	r := &m.registry
	m.signIns = r.AddCounters("sallyport_sign_ins_total", "Sign-ins that ended, by outcome.", "outcome")
	m.secondFactors = r.AddCounters("sallyport_second_factors_total", "Codes and backup codes that people entered, by kind and outcome.", "kind", "outcome")
	m.refusals = r.AddCounters("sallyport_refusals_total", "Tries that the rate limits refused, by the limit that was reached.", "bucket")
	m.waits = r.AddHistograms("sallyport_hashing_wait_seconds", "How long a password or backup code waited to be hashed.", waitBuckets).With()
	m.requests = r.AddHistograms("sallyport_http_request_duration_seconds", "How long a request took, by route and status.", requestBuckets, "route", "status")
	m.checks = r.AddCounters("sallyport_panel_checks_total", "Checks of requests against their panel's demands, by outcome. A long-lived request is checked every few seconds.", "outcome")
	m.initialiseLabels()
	r.AddGauge("sallyport_hashing_queue_length", "How many passwords and backup codes wait to be hashed.",
		func() float64 { return float64(queue.Len()) })
	r.AddGauge("sallyport_clock_offset_seconds", "How far the clocks of the phones that sign in are ahead of this server's: the median.",
		func() float64 { return watch.Offset().Seconds() })
	r.AddGauge("sallyport_clock_ahead_of_database_seconds", "How far this server's clock is ahead of PostgreSQL's.",
		func() float64 { return watch.Ahead().Seconds() })
	r.AddCounter("sallyport_clock_set_back_total", "How often this server's clock went back.",
		func() float64 { return float64(watch.SetsBack()) })
	r.AddGauge("sallyport_audit_unsealed_seconds", "How long the oldest unsealed audit event has waited; 0: all events are sealed.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
		defer cancel()
		oldest, err := unsealed(ctx)
		switch {
		case err != nil:
			return math.NaN() // unknown
		case oldest.IsZero():
			return 0
		}
		return max(0, now().Sub(oldest).Seconds())
	})
	r.AddRuntime()
	r.AddProcess(now())
	return m
}

// initialiseLabels creates each series with the value 0. Prometheus would miss the first
// event of a series that doesn't exist before it.
func (m *metrics) initialiseLabels() {
	for _, outcome := range login.Outcomes {
		m.signIns.With(string(outcome))
		for _, kind := range []authenticator.Kind{authenticator.TOTP, authenticator.BackupCode} {
			m.secondFactors.With(string(kind), string(outcome))
		}
	}
	for _, bucket := range throttle.Buckets() {
		m.refusals.With(string(bucket))
	}
}

// registerReload adds a gauge that shows whether the last configuration that was read has faults.
func (m *metrics) registerReload(faulty *atomic.Bool) {
	m.registry.AddGauge("sallyport_configuration_faulty", "1 if the configuration that was read last is faulty, so the previous one is in force.",
		func() float64 { return boolValue(faulty.Load()) })
}

// registerCertificates adds the gauges of Sallyport's own certificates.
func (m *metrics) registerCertificates(c *certs.Certificates) {
	m.registry.AddGauge("sallyport_certificates_faulty", "1 if the certificates that were read last are faulty, or the CA issued none for a host.",
		func() float64 { return boolValue(c.Faulty()) })
	m.registry.AddGauge("sallyport_certificate_end_timestamp_seconds", "When the first of the certificates in use expires; 0: there is none.", func() float64 {
		first := c.FirstEnd()
		if first.IsZero() {
			return 0
		}
		return float64(first.Unix())
	})
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// countCheck returns the function by which package entry reports the verdict on each request to
// a panel.
func (m *metrics) countCheck() func(verdict access.Verdict, err error) {
	// Find each counter only once: finding it by its label costs more than the check itself.
	var counters [len(verdictLabels)]*metric.Counter
	for verdict, label := range verdictLabels {
		counters[verdict] = m.checks.With(label)
	}
	failed := m.checks.With(unavailableLabel)
	return func(verdict access.Verdict, err error) {
		if err != nil {
			failed.Inc()
		} else {
			counters[verdict].Inc()
		}
	}
}

// loginHooks returns the functions by which package login reports events.
func (m *metrics) loginHooks() login.Metrics {
	return login.Metrics{
		SignIn: func(o login.Outcome) { m.signIns.With(string(o)).Inc() },
		SecondFactor: func(kind authenticator.Kind, o login.Outcome) {
			m.secondFactors.With(string(kind), string(o)).Inc()
		},
		Refusal: func(bucket throttle.Bucket) { m.refusals.With(string(bucket)).Inc() },
		Waited:  func(d time.Duration) { m.waits.Observe(d.Seconds()) },
	}
}

func (m *metrics) observeRequest(route string, status int, took time.Duration) {
	m.requests.With(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// handler returns a handler that serves only GET /metrics.
func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", metric.ContentType)
		w.Write(m.registry.Append(nil))
	})
	return mux
}
