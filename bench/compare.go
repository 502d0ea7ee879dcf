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
	// comparedPairs is how often each binary runs in a comparison. With five runs of each,
	// a single run on a busy machine doesn't distort a median, and the range of the old
	// binary's runs shows how much the machine varies. All ten take less than twenty minutes.
	comparedPairs = 5

	// tolerance is the share by which a figure may get worse without counting as worse. Two
	// builds of the same code differ by a few percent, depending on where the linker places it.
	tolerance = 0.03
)

// comparison holds the figures of two binaries that ran in turn.
type comparison struct {
	sizes
	pairs              int
	oldBuild, newBuild string // the output of their version commands
	rows               []comparedRow
}

// comparedRow is one figure of both binaries. For a measurement with a bare side, the figure is
// the ratio to that side. The ratio varies less than the time itself, since a slow machine also
// slows the bare side of the same run. But the bare side sends the same bytes as the measured
// binary, so a longer answer shows only in medians, which holds the times themselves.
type comparedRow struct {
	group, what  string
	unit         string // "" for a ratio
	older, newer spread
	worse        bool
	medians      string // medians of the measured values behind a ratio, as text
}

// isWorse reports whether the median of newer is worse than that of older by more than
// the tolerance and by more than the range of older's runs. moreIsBetter is true for
// rates.
func isWorse(older, newer spread, moreIsBetter bool) bool {
	loss := newer.median - older.median
	if moreIsBetter {
		loss = -loss
	}
	return loss > tolerance*math.Abs(older.median) && loss > older.max-older.min
}

// compareReports compares runs of the old and the new binary. All reports must have the same
// rows in the same order.
func compareReports(older, newer []*report) ([]comparedRow, error) {
	before, err := mergeReports(older)
	if err != nil {
		return nil, err
	}
	after, err := mergeReports(newer)
	if err != nil {
		return nil, err
	}
	if len(before.rows) != len(after.rows) {
		return nil, errors.New("the two binaries have other rows")
	}
	var all []comparedRow
	for i, first := range before.rows {
		second := after.rows[i]
		if second.what != first.what || first.runs != len(older) || second.runs != len(newer) {
			return nil, fmt.Errorf("%s: some runs have other rows", first.what)
		}
		one := comparedRow{group: first.group, what: first.what, unit: first.unit, older: first.spread, newer: second.spread}
		if first.bare != 0 {
			one.medians = fmt.Sprintf("%s, %s %s", number(first.got), number(second.got), first.unit)
			one.unit = ""
		}
		if first.byDifference {
			one.unit = first.unit + " over bare"
		}
		one.worse = isWorse(one.older, one.newer, first.unit == "/s")
		all = append(all, one)
	}
	return all, nil
}

func isComparable(name string) bool {
	return slices.ContainsFunc(groups, func(g group) bool { return g.name == name && g.comparable })
}

// comparableNames returns the names of the groups that can measure an older binary, in
// the form that -only takes.
func comparableNames() string {
	var names []string
	for _, g := range groups {
		if g.comparable {
			names = append(names, g.name)
		}
	}
	return strings.Join(names, ",")
}

// compare measures the older binary and this tree's binary alternately. Both get the same
// configuration and the same requests, and each creates its own database.
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
	against, err := filepath.Abs(o.against) // since processes start in other directories
	if err != nil {
		return nil, err
	}
	c := &comparison{sizes: b.sizes, pairs: o.pairs}
	err = b.perform(func() {
		b.build()
		built := b.binary
		measure := func(binary string) *report {
			b.binary = binary
			return b.measureGroups()
		}
		c.oldBuild, c.newBuild = b.versionOf(against), b.versionOf(built)
		var older, newer []*report
		for i := range o.pairs {
			fmt.Fprintf(os.Stderr, "pair %d of %d, the old binary first\n", i+1, o.pairs)
			older = append(older, measure(against))
			newer = append(newer, measure(built))
		}
		rows, err := compareReports(older, newer)
		b.must(err)
		c.rows = rows
	})
	return c, err
}

// versionOf returns the output of a binary's version command.
func (b *bench) versionOf(binary string) string {
	b.binary = binary
	return strings.TrimSpace(b.command(nil, "", "version"))
}

// print writes the figures of both binaries as a table for a terminal.
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

// cells returns the row as text: group, what, old, new, change, worse, medians.
func (r comparedRow) cells() []string {
	shown := func(s spread) string {
		return fmt.Sprintf("%s (%s..%s)", strings.TrimSpace(number(s.median)+" "+r.unit), number(s.min), number(s.max))
	}
	cells := []string{r.group, r.what, shown(r.older), shown(r.newer), "", "", r.medians}
	if r.older.median > 0 { // a difference, such as added memory, can be zero or negative
		cells[4] = fmt.Sprintf("%+.1f %%", 100*(r.newer.median/r.older.median-1))
	}
	if r.worse {
		cells[5] = "worse"
	}
	return cells
}

// worseError returns an error if a row is worse.
func (c *comparison) worseError() error {
	worse := 0
	for _, one := range c.rows {
		if one.worse {
			worse++
		}
	}
	if worse == 0 {
		return nil
	}
	return fmt.Errorf("the new binary is worse in %d of %s", worse, counted(len(c.rows), "row"))
}
