package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"text/template"
)

// report holds the figures, in the order of the measurements.
type report struct {
	options
	group   group // the group that is being measured
	rows    []row
	details []detail
	plots   []plot
}

// row is one figure: a measured value and, if there is a bare side, that side's value.
type row struct {
	group string
	what  string
	unit  string
	got   float64
	bare  float64 // 0 if there is no bare side
	ratio float64 // of got to bare, if there is a bare side
	// byDifference means that got is compared with bare by their difference, not by
	// their ratio.
	byDifference bool
	target       *target

	spread    spread // of the results of several runs
	runs, met int    // the number of runs, and of those that met the target; 0 in a single run
}

// target is a limit for the result of a row.
type target struct {
	limit     float64
	isMinimum bool
}

func atMost(limit float64) *target { return &target{limit: limit} }

func atLeast(limit float64) *target { return &target{limit: limit, isMinimum: true} }

// detail is an additional table below the figures of a group.
type detail struct {
	group, title string
	header       []string
	rows         [][]any // each cell is a string, an int or a float64
}

func newReport(o options) *report { return &report{options: o} }

func (r *report) add(one row) {
	one.group = r.group.name
	r.rows = append(r.rows, one)
}

func (r *report) detail(one detail) {
	one.group = r.group.name
	r.details = append(r.details, one)
}

func (r *report) plot(one plot) {
	one.file = r.group.name + "-" + one.file
	r.plots = append(r.plots, one)
}

// result returns the number that the target limits: the ratio to bare or the difference
// from it or, without a bare side, the measured value.
func (r row) result() float64 {
	switch {
	case r.byDifference:
		return r.got - r.bare
	case r.bare != 0:
		return r.ratio
	default:
		return r.got
	}
}

// meetsTarget reports whether there is a target and the result meets it.
func (r row) meetsTarget() bool {
	if r.target == nil {
		return false
	}
	if r.target.isMinimum {
		return r.result() >= r.target.limit
	}
	return r.result() <= r.target.limit
}

// isAtLimit reports whether some of several runs met the target and others missed it.
func (r row) isAtLimit() bool { return r.met > 0 && r.met < r.runs }

// outcome returns "met", "missed", the number of runs that met the target if only some did, or
// "" without a target.
func (r row) outcome() string {
	switch {
	case r.target == nil:
		return ""
	case r.isAtLimit():
		return fmt.Sprintf("met in %d of %d", r.met, r.runs)
	case r.met > 0 || r.runs == 0 && r.meetsTarget():
		return "met"
	default:
		return "missed"
	}
}

// cells returns the row as text: what, measured, bare, result, spread, target, outcome.
func (r row) cells() []string {
	cells := []string{r.what, strings.TrimSpace(number(r.got) + " " + r.unit), "", "", "", "", r.outcome()}
	if r.bare != 0 {
		cells[2], cells[3] = strings.TrimSpace(number(r.bare)+" "+r.unit), fmt.Sprintf("%.2f", r.ratio)
	}
	sign, unit := "", strings.TrimRight(" "+r.unit, " ")
	switch {
	case r.byDifference:
		cells[3] = signed(r.got-r.bare) + unit
		sign = "+"
	case r.bare != 0:
		unit = ""
	}
	if r.runs > 1 {
		cells[4] = r.spread.String()
	}
	if r.target != nil {
		limit := "≤ "
		if r.target.isMinimum {
			limit = "≥ "
		}
		cells[5] = limit + sign + strconv.FormatFloat(r.target.limit, 'g', -1, 64) + unit
	}
	return cells
}

var columns = []string{"what", "measured", "bare", "to bare", "lowest to highest", "target", ""}

func (s spread) String() string { return number(s.min) + " to " + number(s.max) }

// signed formats a number as [number] does, with its sign.
func signed(x float64) string {
	if x >= 0 {
		return "+" + number(x)
	}
	return number(x)
}

// number formats a number with three significant digits, and whole numbers as they are.
func number(x float64) string {
	switch size := math.Abs(x); {
	case !isFinite(x):
		return "?"
	case size >= 100 || x == math.Trunc(x):
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
}

// counted returns a number and a noun, as in "1 connection" or "64 connections".
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// print writes the rows as a table for a terminal.
func (r *report) print(to io.Writer) {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\t"+strings.Join(columns, "\t"))
	for _, one := range r.rows {
		fmt.Fprintln(table, one.group+"\t"+strings.Join(one.cells(), "\t"))
	}
	table.Flush()
}

//go:embed performance.md.tmpl
var pageText string

// write writes performance.md and its plots to dir.
func (r *report) write(dir string) error {
	plots := filepath.Join(dir, "performance")
	if err := os.RemoveAll(plots); err != nil { // plots of an earlier run
		return err
	}
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, p := range r.plots {
		if err := os.WriteFile(filepath.Join(plots, p.file+".svg"), []byte(p.svg()), 0o644); err != nil {
			return err
		}
	}
	page, err := r.page()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "performance.md"), []byte(page), 0o644)
}

func (r *report) page() (string, error) {
	page, err := template.New("performance.md").Funcs(template.FuncMap{
		"targets": func() string { return r.table(func(one row) bool { return one.target != nil }) },
		"figures": func(group string) string {
			return r.table(func(one row) bool { return one.group == group && one.target == nil })
		},
		"details": r.detailsOf,
		"plots":   r.plotsOf,
		"machine": r.machine,
		"limits":  r.limits,
		"runs":    func() int { return max(1, r.runs) },
		"quick":   func() bool { return r.quick },
		"has":     func(group string) bool { return r.table(func(one row) bool { return one.group == group }) != "" },
	}).Parse(pageText)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = page.Execute(&b, nil)
	return strings.TrimRight(b.String(), "\n") + "\n", err
}

func (r *report) table(which func(row) bool) string {
	var rows [][]string
	for _, one := range r.rows {
		if which(one) {
			rows = append(rows, append([]string{one.group}, one.cells()...))
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return markdown(append([]string{""}, columns...), rows)
}

// limits lists the figures that met their target in some runs and missed it in others.
func (r *report) limits() string {
	return r.table(row.isAtLimit)
}

func (r *report) detailsOf(group string) string {
	var b strings.Builder
	for _, one := range r.details {
		if one.group == group {
			b.WriteString(one.title + ":\n\n" + markdown(one.header, one.texts()) + "\n")
		}
	}
	return b.String()
}

// texts returns the cells as text.
func (d detail) texts() [][]string {
	var rows [][]string
	for _, cells := range d.rows {
		var row []string
		for _, cell := range cells {
			if x, isNumber := cell.(float64); isNumber {
				cell = number(x)
			}
			row = append(row, fmt.Sprint(cell))
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *report) plotsOf(group string) string {
	var b strings.Builder
	for _, one := range r.plots {
		if strings.HasPrefix(one.file, group+"-") {
			fmt.Fprintf(&b, "![%s](performance/%s.svg)\n\n", one.title, one.file)
		}
	}
	return b.String()
}

func markdown(header []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	line(header)
	b.WriteString(strings.Repeat("|---", len(header)) + "|\n")
	for _, one := range rows {
		line(one)
	}
	return b.String()
}

// machine describes the hardware and the kernel, without the machine's name.
func (r *report) machine() string {
	var system syscall.Utsname
	kernel := "?"
	if err := syscall.Uname(&system); err == nil {
		var release strings.Builder
		for _, c := range system.Release {
			if c == 0 || c == '-' { // the text after the dash names the distribution
				break
			}
			release.WriteByte(byte(c))
		}
		kernel = release.String()
	}
	model := "a processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	where := "one core, so nothing was pinned and both sides had to share it"
	if n := r.cores.all.count(); r.cores.pinned {
		where = fmt.Sprintf("%d cores, what is measured pinned to the first, what asks to the others", n)
	} else if n != 1 {
		where = fmt.Sprintf("%d cores, nothing pinned", n)
	}
	return fmt.Sprintf("%s; %s; Linux %s; %s/%s; %s", model, where, kernel, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
