package metric

import (
	"math"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestTextIsInOrderAndEscaped(t *testing.T) {
	var r Registry
	waits := r.AddHistograms("wait_seconds", "How long they waited.", []float64{.5, 1, 2.5}).With()
	for _, seconds := range []float64{.25, .5, 1.5, 99} {
		waits.Observe(seconds)
	}
	requests := r.AddHistograms("request_seconds", "How long a request took.", []float64{1}, "route", "status")
	requests.With("GET /", "200").Observe(1.5)
	r.AddGauge("age_seconds", "An age.", func() float64 { return math.NaN() })
	r.AddCounter("set_back_total", "How often.", func() float64 { return 12345678 })
	tries := r.AddCounters("tries_total", "Tries.", "kind")
	tries.With("b").Inc()
	tries.With("b").Inc()
	tries.With(`a "quoted" \ value` + "\nof two lines")
	r.addInfo("build_info", "A build.", "path", "p", "version", "v")

	want := `# HELP age_seconds An age.
# TYPE age_seconds gauge
age_seconds NaN
# HELP build_info A build.
# TYPE build_info gauge
build_info{path="p",version="v"} 1
# HELP request_seconds How long a request took.
# TYPE request_seconds histogram
request_seconds_bucket{route="GET /",status="200",le="1"} 0
request_seconds_bucket{route="GET /",status="200",le="+Inf"} 1
request_seconds_sum{route="GET /",status="200"} 1.5
request_seconds_count{route="GET /",status="200"} 1
# HELP set_back_total How often.
# TYPE set_back_total counter
set_back_total 1.2345678e+07
# HELP tries_total Tries.
# TYPE tries_total counter
tries_total{kind="a \"quoted\" \\ value\nof two lines"} 0
tries_total{kind="b"} 2
# HELP wait_seconds How long they waited.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.5"} 2
wait_seconds_bucket{le="1"} 2
wait_seconds_bucket{le="2.5"} 3
wait_seconds_bucket{le="+Inf"} 4
wait_seconds_sum 101.25
wait_seconds_count 4
`
	got := string(r.Append(nil))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	families := parse(t, got)
	labels := families["tries_total"].Metric[0].Label
	if len(labels) != 1 || labels[0].GetValue() != "a \"quoted\" \\ value\nof two lines" {
		t.Errorf("a parser reads the labels %v, want one with its quotes and two lines", labels)
	}
	if h := families["wait_seconds"].Metric[0].GetHistogram(); h.GetSampleCount() != 4 || h.Bucket[2].GetUpperBound() != 2.5 || h.Bucket[2].GetCumulativeCount() != 3 {
		t.Errorf("a parser reads the histogram %v", h)
	}
}

// parse reads the text as Prometheus does.
func parse(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return families
}

func TestEachCountIsSeen(t *testing.T) {
	var r Registry
	tries := r.AddCounters("tries_total", "Tries.", "kind")
	waits := r.AddHistograms("wait_seconds", "Waits.", []float64{1}, "kind")
	const workers, each = 8, 500
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				tries.With("a").Inc()
				waits.With("a").Observe(2)
				r.Append(nil)
			}
		})
	}
	all.Wait()
	got := string(r.Append(nil))
	for _, want := range []string{`tries_total{kind="a"} 4000`, `wait_seconds_bucket{kind="a",le="1"} 0`, `wait_seconds_sum{kind="a"} 8000`, `wait_seconds_count{kind="a"} 4000`} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	var r Registry
	waits := r.AddHistograms("wait_seconds", "Waits.", []float64{1, 2, 5}, "route", "status")
	waits.With("GET /login", "200")
	if n := testing.AllocsPerRun(100, func() { waits.With("GET /login", "200").Observe(2) }); n != 0 {
		t.Errorf("counting allocates %v times, want 0", n)
	}
}

func TestFaultsOfOurOwnPanic(t *testing.T) {
	var r Registry
	tries := r.AddCounters("tries_total", "Tries.", "kind")
	for name, fault := range map[string]func(){
		"a name twice":    func() { r.AddGauge("tries_total", "Tries.", func() float64 { return 0 }) },
		"too few values":  func() { tries.With() },
		"too many values": func() { tries.With("a", "b") },
		"too many labels": func() { r.AddCounters("others_total", "Others.", "a", "b", "c") },
	} {
		if !panics(fault) {
			t.Errorf("%s: no panic, want one", name)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// TestProcessAndRuntimeAreShown compares the names with those of Prometheus's client for Go, which
// dashboards for Go programs use. It compares the values with other sources.
func TestProcessAndRuntimeAreShown(t *testing.T) {
	var r Registry
	r.AddRuntime()
	started := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	r.AddProcess(started)
	debug.FreeOSMemory() // collects garbage, so that there is a pause
	families := parse(t, string(r.Append(nil)))
	var got strings.Builder
	for _, f := range r.families {
		family := families[f.name]
		got.WriteString(f.name + " " + strings.ToLower(family.GetType().String()) + "\n")
		if value := valueOf(family); math.IsNaN(value) || value < 0 {
			t.Errorf("%s is %v, want 0 or more", f.name, value)
		}
		if !strings.HasSuffix(family.GetHelp(), ".") {
			t.Errorf("%s has the help text %q, want a sentence", f.name, family.GetHelp())
		}
	}
	want, err := os.ReadFile("testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"go_goroutines", "go_threads", "go_memstats_sys_bytes", "go_memstats_last_gc_time_seconds", "go_sched_gomaxprocs_threads", "process_open_fds", "process_max_fds", "process_cpu_seconds_total"} {
		if valueOf(families[name]) <= 0 {
			t.Errorf("%s is %v, want more than 0", name, valueOf(families[name]))
		}
	}
	resident, virtual := valueOf(families["process_resident_memory_bytes"]), valueOf(families["process_virtual_memory_bytes"])
	if resident < 1e6 || resident > virtual {
		t.Errorf("%v bytes of memory are resident, and %v virtual; want at least 1 MB resident, and at least as much virtual", resident, virtual)
	}
	if got := valueOf(families["process_start_time_seconds"]); got != float64(started.Unix()) {
		t.Errorf("started at %v, want %v", got, started.Unix())
	}
	if pauses := families["go_gc_duration_seconds"].Metric[0].GetSummary(); pauses.GetSampleCount() == 0 || pauses.GetSampleSum() <= 0 || len(pauses.Quantile) != 5 {
		t.Errorf("a parser reads the pauses %v", pauses)
	}
}

// valueOf returns the value of a metric with one series, and 0 for a summary.
func valueOf(family *dto.MetricFamily) float64 {
	return family.Metric[0].GetGauge().GetValue() + family.Metric[0].GetCounter().GetValue()
}
