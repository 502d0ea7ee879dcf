package main

import (
	"fmt"
	"slices"
)

// spread summarizes the values of several runs for one figure.
type spread struct{ median, min, max float64 }

func spreadOf(values []float64) spread {
	return spread{median: median(values), min: slices.Min(values), max: slices.Max(values)}
}

// mergeReports merges the reports of several runs into one, whose figures are the medians. Figures
// that only the first run has are taken from it. It returns an error if a value isn't finite, or
// if a table or a plot doesn't have the same size in all runs.
func mergeReports(runs []*report) (*report, error) {
	merged := newReport(runs[0].options)
	var err error
	rows := same(runs, func(r *report) []row { return r.rows }, func(r row) string { return r.group + r.what })
	if merged.rows, err = mergeEach(rows, mergeRows); err != nil {
		return nil, err
	}
	details := same(runs, func(r *report) []detail { return r.details }, func(d detail) string { return d.group + d.title })
	if merged.details, err = mergeEach(details, mergeDetails); err != nil {
		return nil, err
	}
	plots := same(runs, func(r *report) []plot { return r.plots }, func(p plot) string { return p.file })
	merged.plots, err = mergeEach(plots, mergePlots)
	return merged, err
}

// same groups the parts of the runs by name: for each part of the first run, it returns the parts
// of that name in all runs. A part is a row, a table or a plot.
func same[T any](runs []*report, parts func(*report) []T, name func(T) string) [][]T {
	var all [][]T
	for _, first := range parts(runs[0]) {
		var found []T
		for _, r := range runs {
			for _, one := range parts(r) {
				if name(one) == name(first) {
					found = append(found, one)
				}
			}
		}
		all = append(all, found)
	}
	return all
}

func mergeEach[T any](all [][]T, merge func([]T) (T, error)) ([]T, error) {
	var merged []T
	for _, same := range all {
		one, err := merge(same)
		if err != nil {
			return nil, err
		}
		merged = append(merged, one)
	}
	return merged, nil
}

// mergeRows merges one row of several runs. The merged row has the medians, the spread of the
// results, and the number of runs that met the target.
func mergeRows(runs []row) (row, error) {
	merged := runs[0]
	var results, got, bare, ratios []float64
	merged.runs, merged.met = len(runs), 0
	for _, r := range runs {
		if !isFinite(r.result()) {
			return row{}, fmt.Errorf("%s: %v was measured", r.what, r.result())
		}
		results, got, bare, ratios = append(results, r.result()), append(got, r.got), append(bare, r.bare), append(ratios, r.ratio)
		if r.meetsTarget() {
			merged.met++
		}
	}
	merged.spread = spreadOf(results)
	merged.got, merged.bare, merged.ratio = median(got), median(bare), median(ratios)
	return merged, nil
}

// mergeDetails merges one table of several runs: each number is the median of the runs' numbers.
func mergeDetails(runs []detail) (detail, error) {
	merged := runs[0]
	merged.rows = nil
	for i, cells := range runs[0].rows {
		cells = slices.Clone(cells)
		for j, cell := range cells {
			if _, isNumber := cell.(float64); !isNumber {
				continue
			}
			var values []float64
			for _, r := range runs {
				if len(r.rows) != len(runs[0].rows) || len(r.rows[i]) != len(cells) {
					return detail{}, fmt.Errorf("table %q has other rows in some runs", merged.title)
				}
				values = append(values, r.rows[i][j].(float64))
			}
			cells[j] = median(values)
		}
		merged.rows = append(merged.rows, cells)
	}
	return merged, nil
}

// mergePlots merges one plot of several runs: each point is the median of the runs' points.
func mergePlots(runs []plot) (plot, error) {
	merged := runs[0]
	merged.lines = nil
	for i, first := range runs[0].lines {
		line := curve{name: first.name}
		for n := range first.xs {
			var xs, ys []float64
			for _, r := range runs {
				if len(r.lines) != len(runs[0].lines) || len(r.lines[i].xs) != len(first.xs) {
					return plot{}, fmt.Errorf("plot %q has other points in some runs", merged.title)
				}
				xs, ys = append(xs, r.lines[i].xs[n]), append(ys, r.lines[i].ys[n])
			}
			line.add(median(xs), median(ys))
		}
		merged.lines = append(merged.lines, line)
	}
	return merged, nil
}
