package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
)

// plot is a diagram of curves over a common x axis.
type plot struct {
	file       string // name without the group's prefix and .svg
	title      string
	x, y       string // labels, with units
	logX, logY bool
	lines      []curve
}

type curve struct {
	name   string
	xs, ys []float64
}

func (c *curve) add(x, y float64) { c.xs, c.ys = append(c.xs, x), append(c.ys, y) }

// Sizes in pixels.
const (
	width, height            = 760, 440
	left, right, top, bottom = 72, 28, 52, 56
	legendRow                = 20
	legendColumns            = 2
)

// colours are those of Okabe and Ito, on light and on dark paper, which people with
// impaired colour vision can distinguish. Each curve also has its own dash and marker.
var colours = []struct{ light, dark, dash string }{
	{"#0072b2", "#56b4e9", ""},
	{"#d55e00", "#e69f00", "7 4"},
	{"#007a5a", "#2fd6a5", ""},
	{"#a8467f", "#e79ac4", "7 4"},
	{"#5d5d5d", "#c0c0c0", "2 4"},
	{"#8a6d00", "#f0e442", "10 3 2 3"},
}

// svg returns the plot as an SVG document, which uses the reader's light or dark colour
// scheme.
func (p plot) svg() string {
	var b strings.Builder
	f := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	rows := (len(p.lines) + legendColumns - 1) / legendColumns
	h, t := height+rows*legendRow, top+rows*legendRow
	x := newAxis(p.logX, p.values(true), left, width-right)
	y := newAxis(p.logY, p.values(false), float64(h-bottom), float64(t))

	f(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="system-ui, sans-serif" font-size="13">`, width, h, width, h)
	f(`<title>%s</title>`, html.EscapeString(p.title))
	f(`<style>`)
	f(`.paper{fill:#fff}.ink{fill:#1f2328}.grid{stroke:#d8dee4}.axis{stroke:#59636e}%s`, p.styles(false))
	f(`@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#e6edf3}.grid{stroke:#30363d}.axis{stroke:#9198a1}%s}`, p.styles(true))
	f(`</style>`)
	f(`<rect class="paper" width="%d" height="%d"/>`, width, h)
	f(`<text class="ink" x="%d" y="26" font-size="16" font-weight="600">%s</text>`, left, html.EscapeString(p.title))
	for i, line := range p.lines {
		lx, ly := left+i%legendColumns*(width-left-right)/legendColumns, 44+i/legendColumns*legendRow
		f(`<line class="c%d" x1="%d" y1="%d" x2="%d" y2="%d"/>`, i, lx, ly, lx+34, ly)
		f("%s", marker(i, float64(lx+17), float64(ly)))
		f(`<text class="ink" x="%d" y="%d">%s</text>`, lx+42, ly+4, html.EscapeString(line.name))
	}
	for _, tick := range y.ticks {
		at := y.position(tick)
		f(`<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, left, at, width-right, at)
		f(`<text class="ink" x="%d" y="%.1f" text-anchor="end">%s</text>`, left-8, at+4, tickLabel(tick))
	}
	for _, tick := range x.ticks {
		at := x.position(tick)
		f(`<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, at, h-bottom, at, h-bottom+5)
		f(`<text class="ink" x="%.1f" y="%d" text-anchor="middle">%s</text>`, at, h-bottom+20, tickLabel(tick))
	}
	f(`<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`, left, h-bottom, width-right, h-bottom)
	f(`<text class="ink" x="%d" y="%d" text-anchor="middle">%s</text>`, (left+width-right)/2, h-12, html.EscapeString(p.x))
	middle := (t + h - bottom) / 2
	f(`<text class="ink" x="18" y="%d" text-anchor="middle" transform="rotate(-90 18 %d)">%s</text>`, middle, middle, html.EscapeString(p.y))
	for i, line := range p.lines {
		var points []string
		for n := range line.xs {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.position(line.xs[n]), y.position(line.ys[n])))
		}
		f(`<polyline class="c%d" points="%s"/>`, i, strings.Join(points, " "))
		for n := range line.xs {
			f("%s", marker(i, x.position(line.xs[n]), y.position(line.ys[n])))
		}
	}
	f(`</svg>`)
	return b.String()
}

// values returns the x values of all curves if ofX, else their y values.
func (p plot) values(ofX bool) []float64 {
	var all []float64
	for _, line := range p.lines {
		if ofX {
			all = append(all, line.xs...)
		} else {
			all = append(all, line.ys...)
		}
	}
	return all
}

func (p plot) styles(dark bool) string {
	var b strings.Builder
	for i := range p.lines {
		c := colours[i%len(colours)]
		colour := c.light
		if dark {
			colour = c.dark
		}
		fmt.Fprintf(&b, ".c%d{stroke:%s;fill:none;stroke-width:2;stroke-dasharray:%s}.m%d{fill:%s}", i, colour, cmp.Or(c.dash, "none"), i, colour)
	}
	return b.String()
}

// marker returns the shape that marks the points of curve i: a disc, square, triangle or
// diamond.
func marker(i int, x, y float64) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf(`<circle class="m%d" cx="%.1f" cy="%.1f" r="4"/>`, i, x, y)
	case 1:
		return fmt.Sprintf(`<rect class="m%d" x="%.1f" y="%.1f" width="8" height="8"/>`, i, x-4, y-4)
	case 2:
		return fmt.Sprintf(`<path class="m%d" d="M%.1f %.1fl5 9h-10z"/>`, i, x, y-5)
	default:
		return fmt.Sprintf(`<path class="m%d" d="M%.1f %.1fl5 5l-5 5l-5 -5z"/>`, i, x, y-5)
	}
}

// axis maps values to positions in pixels.
type axis struct {
	log      bool
	low, top float64 // values at the ends
	from, to float64 // pixels at the ends
	ticks    []float64
}

// fewValues is the largest number of values that a horizontal logarithmic axis uses as its ticks.
const fewValues = 7

func newAxis(log bool, values []float64, from, to float64) axis {
	a := axis{log: log, from: from, to: to}
	if log {
		values = slices.DeleteFunc(values, func(v float64) bool { return v <= 0 })
	}
	if len(values) == 0 {
		values = []float64{1}
	}
	a.low, a.top = slices.Min(values), slices.Max(values)
	if !log {
		a.linear()
		return a
	}
	slices.Sort(values)
	if own := slices.Compact(values); len(own) > 1 && len(own) <= fewValues && a.isHorizontal() {
		a.ticks = own
		return a
	}
	a.decades()
	return a
}

// linear sets linear ticks from 0, so that no difference looks larger than it is.
func (a *axis) linear() {
	a.low = 0
	if a.top <= 0 {
		a.top = 1
	}
	const parts = 5 // approximate number of intervals
	size := math.Pow(10, math.Floor(math.Log10(a.top/parts)))
	step := 10 * size
	for _, round := range []float64{5, 2, 1} {
		if round*size*parts >= a.top {
			step = round * size
		}
	}
	if !a.isHorizontal() {
		a.top = step * math.Ceil(a.top/step)
	}
	for n := 0.0; n*step <= a.top*1.001; n++ {
		a.ticks = append(a.ticks, n*step)
	}
}

// isHorizontal reports whether the axis is horizontal. A horizontal axis ends at the
// largest value, not at a tick.
func (a *axis) isHorizontal() bool { return a.from < a.to }

// decades sets ticks at 1, 2 and 5 times each power of ten, or at the powers only if there
// are many.
func (a *axis) decades() {
	first, last := math.Floor(math.Log10(a.low)), math.Ceil(math.Log10(a.top))
	if first == last {
		last++
	}
	parts := []float64{1, 2, 5}
	if last-first > 3 {
		parts = parts[:1]
	}
	for power := first; power <= last; power++ {
		for _, part := range parts {
			if tick := part * math.Pow(10, power); tick <= math.Pow(10, last)*1.001 {
				a.ticks = append(a.ticks, tick)
			}
		}
	}
	// Drop ticks that are outside of the values.
	for len(a.ticks) > 2 && a.ticks[1] <= a.low {
		a.ticks = a.ticks[1:]
	}
	for len(a.ticks) > 2 && a.ticks[len(a.ticks)-2] >= a.top {
		a.ticks = a.ticks[:len(a.ticks)-1]
	}
	a.low, a.top = a.ticks[0], a.ticks[len(a.ticks)-1]
}

// position returns the position of a value in pixels.
func (a axis) position(value float64) float64 {
	low, top := a.low, a.top
	if a.log {
		value, low, top = math.Log10(max(value, low)), math.Log10(low), math.Log10(top)
	}
	if top == low {
		return (a.from + a.to) / 2
	}
	return a.from + (value-low)/(top-low)*(a.to-a.from)
}

// tickLabel formats the value of a tick, 1500000 as "1.5 M".
func tickLabel(value float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e6, " M"}, {1e3, " k"}} {
		if value >= unit.size {
			return strconv.FormatFloat(value/unit.size, 'g', 4, 64) + unit.name
		}
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}
