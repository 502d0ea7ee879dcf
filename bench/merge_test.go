package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReportsOfRunsAreMergedByTheirMedians(t *testing.T) {
	var runs []*report
	for i, ratio := range []float64{1.2, 1.0, 1.1} {
		r := newReport(options{})
		r.add(row{what: "a visit", got: 10 * ratio, bare: 10, ratio: ratio, target: atMost(1.1)})
		r.detail(detail{title: "table", rows: [][]any{{"a visit", 64, ratio}}})
		r.plot(plot{file: "x", lines: []curve{{name: "a visit", xs: []float64{64}, ys: []float64{ratio}}}})
		if i == 0 {
			r.add(row{what: "in the first run only", got: 7})
		}
		runs = append(runs, r)
	}
	merged, err := mergeReports(runs)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"a visit", "11", "10", "1.10", "1 to 1.20", "≤ 1.1", "met in 2 of 3"},
		{"in the first run only", "7", "", "", "", "", ""},
	}
	for i, one := range merged.rows {
		if diff := cmp.Diff(want[i], one.cells()); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff([][]string{{"a visit", "64", "1.10"}}, merged.details[0].texts()); diff != "" {
		t.Error(diff)
	}
	if got := merged.plots[0].lines[0].ys; len(got) != 1 || got[0] != 1.1 {
		t.Errorf("the plot has the points %v, want their median, 1.1", got)
	}

	runs[2].details[0].rows = nil
	if _, err := mergeReports(runs); err == nil {
		t.Error("tables with different rows were merged")
	}
}
