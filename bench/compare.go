package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	// comparedPairs is how often each binary runs in a comparison. Of five runs
	// one that a busy machine slowed down moves neither median, and the range of
	// the old binary's five says how much the machine varies; ten runs still end
	// within twenty minutes.
	comparedPairs = 5

	// tolerance is the share by which a row may be worse: two builds of the same
	// code differ by some percent, by where the linker puts it.
	tolerance = 0.03
)

// comparison is what two binaries measured in turn, row by row.
type comparison struct {
	sizes
	pairs              int
	oldBuild, newBuild string // what their version commands print
	rows               []comparedRow
}

// comparedRow is one figure of both binaries: the ratio to the bare side, where
// there is one. What slows the machine down slows the bare side of the same run
// too, so the ratio varies less between runs than the time itself. But the bare
// side sends the bytes that the measured binary sends: what a longer answer
// costs shows in the medians of the time alone.
type comparedRow struct {
	group, what  string
	unit         string // "" of a ratio
	older, newer spread
	worse        bool
	medians      string // of what the ratios are made from, for people to read
}

// spread is what several runs found for one row.
type spread struct{ median, min, max float64 }

// spreadOf returns the spread of what the runs have in row i.
func spreadOf(runs [][]row, i int, what func(row) float64) spread {
	var values []float64
	for _, rows := range runs {
		values = append(values, what(rows[i]))
	}
	return spread{median: median(values), min: slices.Min(values), max: slices.Max(values)}
}

// isWorse reports whether newer is worse than older by more than the tolerance,
// and by more than older's own runs differ. moreIsBetter is so for rates.
func isWorse(older, newer spread, moreIsBetter bool) bool {
	loss := newer.median - older.median
	if moreIsBetter {
		loss = -loss
	}
	return loss > tolerance*math.Abs(older.median) && loss > older.max-older.min
}

// compareRows compares runs of the old and the new binary, each a list of the
// same rows in the same order.
func compareRows(older, newer [][]row) ([]comparedRow, error) {
	var all []comparedRow
	for i, first := range older[0] {
		for _, rows := range slices.Concat(older, newer) {
			if len(rows) != len(older[0]) || rows[i].what != first.what {
				return nil, fmt.Errorf("%s: some runs have other rows", first.what)
			}
			if !sound(rows[i].judged()) {
				return nil, fmt.Errorf("%s: %v was measured", first.what, rows[i].judged())
			}
		}
		one := comparedRow{group: first.group, what: first.what, unit: first.unit,
			older: spreadOf(older, i, row.judged), newer: spreadOf(newer, i, row.judged)}
		if first.bare != 0 {
			measured := func(r row) float64 { return r.got }
			one.unit = ""
			one.medians = fmt.Sprintf("%s, %s %s", number(spreadOf(older, i, measured).median), number(spreadOf(newer, i, measured).median), first.unit)
		}
		one.worse = isWorse(one.older, one.newer, first.unit == "/s")
		all = append(all, one)
	}
	return all, nil
}

func isComparable(name string) bool {
	return slices.ContainsFunc(groups, func(g group) bool { return g.name == name && g.comparable })
}

// comparableNames returns the names of the groups that can measure an older
// binary, as -only takes them.
func comparableNames() string {
	var names []string
	for _, g := range groups {
		if g.comparable {
			names = append(names, g.name)
		}
	}
	return strings.Join(names, ",")
}

// compare measures the older binary and this tree's in turn. Both get the same
// configuration, make their own database, and are asked the same.
func compare(ctx context.Context, o options) (*comparison, error) {
	if o.out != "" || len(o.peers) > 0 {
		return nil, errors.New("-against goes with neither -out nor -peer")
	}
	if o.pairs < 1 {
		return nil, errors.New("-pairs must be at least 1")
	}
	if len(o.only) == 0 {
		o.only = strings.Split(comparableNames(), ",")
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, name := range o.only {
		if !isComparable(name) {
			return nil, fmt.Errorf("group %s measures more than a binary; -against compares %s", name, comparableNames())
		}
	}
	against, err := filepath.Abs(o.against) // processes start in directories of their own
	if err != nil {
		return nil, err
	}
	c := &comparison{sizes: b.sizes, pairs: o.pairs}
	err = b.perform(func() {
		b.build()
		built := b.binary
		measure := func(binary string) []row {
			b.binary, b.report = binary, newReport(o)
			b.measureGroups()
			return b.rows
		}
		c.oldBuild, c.newBuild = b.versionOf(against), b.versionOf(built)
		var older, newer [][]row
		for i := range o.pairs {
			fmt.Fprintf(os.Stderr, "pair %d of %d, the old binary first\n", i+1, o.pairs)
			older = append(older, measure(against))
			newer = append(newer, measure(built))
		}
		rows, err := compareRows(older, newer)
		b.must(err)
		c.rows = rows
	})
	return c, err
}

// versionOf returns what a binary's version command prints.
func (b *bench) versionOf(binary string) string {
	b.binary = binary
	return strings.TrimSpace(b.command(nil, "", "version"))
}

// print writes both binaries' figures as a terminal shows them.
func (c *comparison) print(to io.Writer) {
	fmt.Fprintf(to, "old: %s\nnew: %s\n", c.oldBuild, c.newBuild)
	fmt.Fprintf(to, "%d short runs of each in turn, %d rounds of %v for each row; median (lowest..highest), as a ratio to bare where no unit is named\n\n", c.pairs, c.rounds, c.round)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\twhat\told\tnew\tchange\t\told, new measured")
	for _, one := range c.rows {
		fmt.Fprintln(table, strings.Join(one.cells(), "\t"))
	}
	table.Flush()
}

// cells are the row as text: group, what, old, new, change, worse, medians.
func (r comparedRow) cells() []string {
	shown := func(s spread) string {
		return fmt.Sprintf("%s (%s..%s)", strings.TrimSpace(number(s.median)+" "+r.unit), number(s.min), number(s.max))
	}
	cells := []string{r.group, r.what, shown(r.older), shown(r.newer), "", "", r.medians}
	if r.older.median > 0 { // memory that was added may be none, or less than that
		cells[4] = fmt.Sprintf("%+.1f %%", 100*(r.newer.median/r.older.median-1))
	}
	if r.worse {
		cells[5] = "worse"
	}
	return cells
}

// verdict is an error where some row is worse.
func (c *comparison) verdict() error {
	worse := 0
	for _, one := range c.rows {
		if one.worse {
			worse++
		}
	}
	if worse == 0 {
		return nil
	}
	return fmt.Errorf("the new binary is worse in %d of %s", worse, some(len(c.rows), "row"))
}
