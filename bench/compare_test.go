package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWorseMeansBeyondTheToleranceAndTheOldSpread(t *testing.T) {
	steady := spread{median: 100, min: 99.5, max: 100.5}
	tests := map[string]struct {
		older        spread
		newer        float64 // median
		moreIsBetter bool
		want         bool
	}{
		"the same":                       {older: steady, newer: 100},
		"better by far":                  {older: steady, newer: 50},
		"within the tolerance":           {older: steady, newer: 102.9},
		"beyond the tolerance":           {older: steady, newer: 103.1, want: true},
		"within the old spread":          {older: spread{100, 95, 110}, newer: 114},
		"beyond the old spread":          {older: spread{100, 95, 110}, newer: 116, want: true},
		"beyond the spread alone":        {older: spread{100, 100, 100}, newer: 102},
		"a rate that fell":               {older: steady, newer: 96, moreIsBetter: true, want: true},
		"a rate that fell a little":      {older: steady, newer: 98, moreIsBetter: true},
		"a rate that rose":               {older: steady, newer: 150, moreIsBetter: true},
		"a rate that fell in the spread": {older: spread{100, 90, 105}, newer: 86, moreIsBetter: true},
		"memory that was given back":     {older: spread{-1, -1.2, -0.9}, newer: -0.99},
		"memory that was not given back": {older: spread{-1, -1.2, -0.9}, newer: 2, want: true},
		"memory that was kept from none": {older: spread{0, 0, 0}, newer: 1, want: true},
		"memory, none on both sides":     {older: spread{0, 0, 0}, newer: 0},
	}
	for name, test := range tests {
		// The spread of the new binary must not matter.
		newer := spread{median: test.newer, min: test.newer - 1000, max: test.newer + 1000}
		if got := isWorse(test.older, newer, test.moreIsBetter); got != test.want {
			t.Errorf("%s: isWorse is %v, want %v", name, got, test.want)
		}
	}
}

func TestRunsAreComparedRowByRow(t *testing.T) {
	runsOf := func(times, rates []float64) (runs []*report) {
		for i := range times {
			runs = append(runs, &report{rows: []row{
				{group: "a", what: "a visit", unit: "µs CPU", got: 10 * times[i], bare: 10, ratio: times[i]},
				{group: "b", what: "codes", unit: "/s", got: rates[i]},
				{group: "g", what: "p99", unit: "ms", got: 1 + times[i], bare: 1, byDifference: true},
			}})
		}
		return runs
	}
	older := runsOf([]float64{1, 1.2, 1.1, 1.05, 1.15}, []float64{100, 100, 101, 99, 100})
	newer := runsOf([]float64{1.2, 1.3, 1.25, 4, 1.22}, []float64{90, 91, 89, 90, 200})
	got, err := compareReports(older, newer)
	if err != nil {
		t.Fatal(err)
	}
	c := comparison{rows: got}
	want := [][]string{
		{"a", "a visit", "1.10 (1..1.20)", "1.25 (1.20..4)", "+13.6 %", "", "11, 12.5 µs CPU"},
		{"b", "codes", "100 /s (99..101)", "90 /s (89..200)", "-10.0 %", "worse", ""},
		{"g", "p99", "1.10 ms over bare (1..1.20)", "1.25 ms over bare (1.20..4)", "+13.6 %", "", "2.10, 2.25 ms"},
	}
	for i, one := range got {
		if diff := cmp.Diff(want[i], one.cells()); diff != "" {
			t.Error(diff)
		}
	}
	if err := c.worseError(); err == nil || err.Error() != "the new binary is worse in 1 of 3 rows" {
		t.Errorf("worseError returns %v, want that 1 of 3 rows is worse", err)
	}
	if same, err := compareReports(older, older); err != nil || (&comparison{rows: same}).worseError() != nil {
		t.Errorf("comparing runs with themselves gives %v, %v; want no worse row", same, err)
	}

	renamed := runsOf([]float64{10}, []float64{100})
	renamed[0].rows[1].what = "other codes"
	shorter := runsOf([]float64{10}, []float64{100})
	shorter[0].rows = shorter[0].rows[:1]
	odd := runsOf([]float64{10}, []float64{0})
	odd[0].rows[0].ratio /= odd[0].rows[1].got
	for name, runs := range map[string][]*report{"renamed": renamed, "shorter": shorter, "infinite": odd} {
		if _, err := compareReports(older, runs); err == nil {
			t.Errorf("runs with %s rows were compared, want an error", name)
		}
	}
}

func TestComparisonsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, o := range map[string]options{
		"a group of this tree's functions": {only: []string{"a", "d"}, pairs: 1, against: "sallyport"},
		"no such group":                    {only: []string{"z"}, pairs: 1, against: "sallyport"},
		"no runs":                          {pairs: 0, against: "sallyport"},
		"a page":                           {pairs: 1, against: "sallyport", out: "docs"},
		"a peer":                           {pairs: 1, against: "sallyport", peers: []peer{{}}},
	} {
		if _, err := compare(t.Context(), o); err == nil {
			t.Errorf("%s was accepted, want an error", name)
		}
	}
}

func TestBinaryCanBeComparedWithItself(t *testing.T) {
	b, err := newBench(t.Context(), options{})
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var c *comparison
	err = b.perform(func() {
		b.build()
		relative, err := filepath.Rel(here, b.binary)
		b.must(err)
		c, err = compare(t.Context(), options{only: []string{"b", "c"}, quick: true, pairs: 1, against: relative})
		b.must(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.rows) < 7 || !strings.HasPrefix(c.oldBuild, "sallyport ") || c.oldBuild != c.newBuild {
		t.Errorf("got %d rows of %q and %q, want at least 7 of the same version", len(c.rows), c.oldBuild, c.newBuild)
	}
	for _, one := range c.rows {
		if one.unit == "" && !(one.older.median > 0 && one.newer.median > 0) {
			t.Errorf("%s: ratios %v and %v, want positive ones", one.what, one.older, one.newer)
		}
	}
	var output strings.Builder
	c.print(&output)
	if strings.Count(output.String(), "..") != 2*len(c.rows)+1 {
		t.Errorf("not every row shows two ranges:\n%s", &output)
	}
}
