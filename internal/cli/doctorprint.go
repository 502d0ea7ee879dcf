package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/doctor"
)

const (
	// reportWidth is the greatest length of a line of text, in bytes.
	reportWidth = 80

	// maxSeen is how many observations of one finding are printed; --json prints all.
	maxSeen = 4
)

// printReport prints a report as text. Lines that fix a finding are never wrapped, so that
// they can be copied.
func printReport(w io.Writer, report doctor.Report, took time.Duration) error {
	var b strings.Builder
	for _, f := range report.Findings {
		fmt.Fprintf(&b, "%s  %s  %s\n", strings.ToUpper(string(f.Severity)), f.ID, f.At)
		writeWrapped(&b, "  ", f.Says)
		for i, s := range f.Seen {
			if i == maxSeen {
				fmt.Fprintf(&b, "    and %d more\n", len(f.Seen)-i)
				break
			}
			writeWrapped(&b, "    ", s.Asked+" -> "+s.Got)
		}
		printFixes(&b, f)
		fmt.Fprintln(&b)
	}
	for _, s := range report.Skipped {
		writeWrapped(&b, "", "Not tested: "+s.What+": "+s.Why+".")
	}
	fmt.Fprintf(&b, "%d requests in %s: %s.\n", report.Asked, took.Round(100*time.Millisecond), tally(report))
	_, err := io.WriteString(w, b.String())
	return err
}

func printFixes(b *strings.Builder, f doctor.Finding) {
	if len(f.Fixes) > 1 {
		writeWrapped(b, "  ", "Which proxy is this? Add --proxy NAME to see the lines for it, or --json to see the lines for every proxy.")
		return
	}
	for _, m := range f.Fixes {
		where := "Fix"
		if m.Where != "" {
			where = m.Where
		}
		if f.Proxy == m.For {
			where = f.Proxy + ", " + where
		}
		writeWrapped(b, "  ", where+":")
		for _, line := range m.Lines {
			fmt.Fprintln(b, "      "+line)
		}
	}
}

// writeWrapped writes text in lines of at most reportWidth bytes. Each line begins with indent,
// and each but the first with two more spaces. A word that is longer than a line stays whole.
func writeWrapped(b *strings.Builder, indent, text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = indent + word
		case len(line)+1+len(word) > reportWidth:
			fmt.Fprintln(b, line)
			line = indent + "  " + word
		default:
			line += " " + word
		}
	}
	fmt.Fprintln(b, line)
}

// tally returns the number of findings of each severity, such as "2 open, 1 advice".
func tally(report doctor.Report) string {
	count := map[doctor.Severity]int{}
	for _, f := range report.Findings {
		count[f.Severity]++
	}
	var parts []string
	for _, severity := range []doctor.Severity{doctor.Open, doctor.Broken, doctor.Unclear, doctor.Advice} {
		if n := count[severity]; n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", severity))
		}
	}
	if len(parts) == 0 {
		return "nothing is open"
	}
	return strings.Join(parts, ", ")
}

// The JSON form of a report. Programs read it: fields and ids may be added, but the meaning
// of a field or an id must not change.
type (
	doctorReport struct {
		At       time.Time       `json:"at"`  // UTC
		Bad      bool            `json:"bad"` // exit code 1
		Asked    int             `json:"asked"`
		Proxies  []doctorProxy   `json:"proxies"`
		Findings []doctorFinding `json:"findings"`
		Skipped  []doctorSkipped `json:"skipped"`
	}
	doctorProxy struct {
		At   string `json:"at"`
		Name string `json:"name"`
	}
	doctorFinding struct {
		ID       string       `json:"id"`
		Severity string       `json:"severity"` // open, broken, unclear, advice
		At       string       `json:"at"`
		Says     string       `json:"says"`
		Seen     []doctorSeen `json:"seen"`
		Fixes    []doctorFix  `json:"fixes"`
	}
	doctorSeen struct {
		Asked string `json:"asked"`
		Got   string `json:"got"`
	}
	doctorFix struct {
		For   string   `json:"for"` // a proxy; any, config, shell
		Where string   `json:"where"`
		Lines []string `json:"lines"`
	}
	doctorSkipped struct {
		What string `json:"what"`
		Why  string `json:"why"`
	}
)

func printJSON(w io.Writer, report doctor.Report, start time.Time) error {
	out := doctorReport{At: start.UTC(), Bad: report.HasFaults(), Asked: report.Asked, Proxies: []doctorProxy{}, Findings: []doctorFinding{}, Skipped: []doctorSkipped{}}
	for _, origin := range slices.Sorted(maps.Keys(report.Proxies)) {
		out.Proxies = append(out.Proxies, doctorProxy{origin, report.Proxies[origin]})
	}
	for _, f := range report.Findings {
		one := doctorFinding{ID: f.ID, Severity: string(f.Severity), At: f.At, Says: f.Says, Seen: []doctorSeen{}, Fixes: []doctorFix{}}
		for _, s := range f.Seen {
			one.Seen = append(one.Seen, doctorSeen(s))
		}
		for _, m := range f.Fixes {
			one.Fixes = append(one.Fixes, doctorFix(m))
		}
		out.Findings = append(out.Findings, one)
	}
	for _, s := range report.Skipped {
		out.Skipped = append(out.Skipped, doctorSkipped(s))
	}
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	lines.SetIndent("", "  ")
	return lines.Encode(out)
}
