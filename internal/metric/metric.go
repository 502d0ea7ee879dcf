// Package metric counts events and writes the counts in the text format of Prometheus, version
// 0.0.4. The callers choose what is counted: package server for Sallyport, and this package for
// the Go runtime (go_*) and the process (process_*).
//
// The format: https://prometheus.io/docs/instrumenting/exposition_formats/
package metric

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// ContentType is the media type of the text format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// maxLabels is the largest number of labels of a metric. A map has the series by their label
// values. Its keys are arrays of this size, so that a look-up needs no allocation.
const maxLabels = 2

// Registry has the metrics of a program. The zero value is empty. All metrics must be added
// before the first call of Append. Afterwards, counting and Append are safe for concurrent use.
type Registry struct {
	families []family // in the order of their names
}

// family is a metric with all its series.
type family struct {
	name, help, kind string
	appendSamples    func(b []byte) []byte
}

// add adds a family. It panics if there is one with that name.
func (r *Registry) add(f family) {
	i, found := slices.BinarySearchFunc(r.families, f.name, func(g family, name string) int { return strings.Compare(g.name, name) })
	if found {
		panic("two metrics have the name " + f.name)
	}
	r.families = slices.Insert(r.families, i, f)
}

// Append appends the text of all metrics to b.
func (r *Registry) Append(b []byte) []byte {
	for _, f := range r.families {
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		b = f.appendSamples(b)
	}
	return b
}

// AddGauge adds a metric that can rise and fall. Each Append calls the function read for its value;
// NaN stands for an unknown value.
func (r *Registry) AddGauge(name, help string, read func() float64) {
	r.addRead("gauge", name, help, read)
}

// AddCounter adds a metric that only rises. Each Append calls the function read for its value.
func (r *Registry) AddCounter(name, help string, read func() float64) {
	r.addRead("counter", name, help, read)
}

func (r *Registry) addRead(kind, name, help string, read func() float64) {
	r.add(family{name, help, kind, func(b []byte) []byte { return appendSample(b, name, read()) }})
}

// AddCounters adds a metric that counts events by the values of its labels.
func (r *Registry) AddCounters(name, help string, labels ...string) *Vector[*Counter] {
	return addVector(r, family{name: name, help: help, kind: "counter"}, func() *Counter { return new(Counter) }, labels)
}

// AddHistograms adds a metric that counts values in buckets, by the values of its labels. The
// parameter bounds has the largest value of each bucket, in ascending order; the bucket +Inf is
// added by itself.
func (r *Registry) AddHistograms(name, help string, bounds []float64, labels ...string) *Vector[*Histogram] {
	return addVector(r, family{name: name, help: help, kind: "histogram"}, func() *Histogram {
		return &Histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
	}, labels)
}

// Vector has the series of a metric, one for each combination of label values.
type Vector[S series] struct {
	labels []string
	create func() S

	mu     sync.Mutex
	series map[[maxLabels]string]S
}

type series interface {
	// appendSamples appends the lines of a series to b. The parameter pairs has the names and values
	// of its labels.
	appendSamples(b []byte, name string, pairs []string) []byte
}

func addVector[S series](r *Registry, f family, create func() S, labels []string) *Vector[S] {
	if len(labels) > maxLabels {
		panic(f.name + " has too many labels")
	}
	v := &Vector[S]{labels: labels, create: create, series: map[[maxLabels]string]S{}}
	f.appendSamples = func(b []byte) []byte { return v.appendSamples(b, f.name) }
	r.add(f)
	return v
}

// With returns the series with these label values, which are in the order of the labels. If the
// series doesn't exist, With creates it; from then on it is shown, with the value 0. With panics if
// the number of values is wrong.
func (v *Vector[S]) With(values ...string) S {
	if len(values) != len(v.labels) {
		panic("as many label values are needed as there are labels") // quoting the values would make every call allocate
	}
	var key [maxLabels]string
	copy(key[:], values)
	v.mu.Lock()
	defer v.mu.Unlock()
	one, ok := v.series[key]
	if !ok {
		one = v.create()
		v.series[key] = one
	}
	return one
}

// appendSamples appends the lines of all series, in the order of their label values.
func (v *Vector[S]) appendSamples(b []byte, name string) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	var keys [][maxLabels]string
	for key := range v.series {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b [maxLabels]string) int { return slices.Compare(a[:], b[:]) })
	for _, key := range keys {
		var pairs []string
		for i, label := range v.labels {
			pairs = append(pairs, label, key[i])
		}
		b = v.series[key].appendSamples(b, name, pairs)
	}
	return b
}

// Counter counts events.
type Counter struct{ count atomic.Uint64 }

// Inc counts one event.
func (c *Counter) Inc() { c.count.Add(1) }

func (c *Counter) appendSamples(b []byte, name string, pairs []string) []byte {
	return appendSample(b, name, float64(c.count.Load()), pairs...)
}

// Histogram counts values in buckets.
type Histogram struct {
	bounds []float64

	mu     sync.Mutex
	counts []uint64 // counts[i] is the number of values up to bounds[i] and above bounds[i-1]
	sum    float64
}

// Observe counts a value.
func (h *Histogram) Observe(value float64) {
	i, _ := slices.BinarySearch(h.bounds, value)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[i]++
	h.sum += value
}

func (h *Histogram) appendSamples(b []byte, name string, pairs []string) []byte {
	h.mu.Lock()
	counts, sum := slices.Clone(h.counts), h.sum
	h.mu.Unlock()
	total := uint64(0)
	for i, n := range counts {
		total += n // the format's buckets include the values of all lower buckets
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = formatFloat(h.bounds[i])
		}
		b = appendSample(b, name+"_bucket", float64(total), append(pairs, "le", bound)...)
	}
	b = appendSample(b, name+"_sum", sum, pairs...)
	return appendSample(b, name+"_count", float64(total), pairs...)
}

// escapeValue escapes a label's value.
var escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// appendSample appends a line: a metric, the names and values of its labels, and its value.
func appendSample(b []byte, name string, value float64, pairs ...string) []byte {
	b = append(b, name...)
	before := "{"
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, before+pairs[i]+`="`+escapeValue.Replace(pairs[i+1])+`"`...)
		before = ","
	}
	if len(pairs) > 0 {
		b = append(b, '}')
	}
	return append(b, " "+formatFloat(value)+"\n"...)
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
