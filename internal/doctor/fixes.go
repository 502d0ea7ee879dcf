package doctor

import (
	_ "embed"
	"net"
	"slices"
	"strings"
)

//go:embed fixes.txt
var fixesText string

// anyProxy marks what doesn't depend on the proxy.
const anyProxy = "any"

// entry is what fixes.txt says for one heading.
type entry struct {
	ids, proxies []string
	where        string
	lines        []string
}

// parseFixes reads fixes.txt.
func parseFixes(text string) []entry {
	var all []entry
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		heading, found := strings.CutPrefix(line, "== ")
		switch {
		case found:
			parts := strings.SplitN(heading, " | ", 3)
			all = append(all, entry{ids: strings.Split(parts[0], ", "), proxies: strings.Split(parts[1], ", "), where: parts[2]})
		case line == "" || len(all) == 0:
		default:
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	return all
}

// fixes returns what fixes a finding: for the proxy there, or for all where it
// wasn't recognised. path is what was asked for.
func (d *doctor) fixes(id, at, path string) []Fix {
	fill := d.filler(at, path)
	var all []Fix
	for _, m := range parseFixes(fixesText) {
		proxy := d.proxy(at)
		for _, one := range m.proxies {
			if slices.Contains(m.ids, id) && (one == anyProxy || proxy == "" || one == proxy) {
				fix := Fix{For: one, Where: fill.Replace(m.where), Lines: []string{}}
				for _, line := range m.lines {
					if line, there := forScheme(at, line); there {
						fix.Lines = append(fix.Lines, fill.Replace(line))
					}
				}
				all = append(all, fix)
			}
		}
	}
	return all
}

// forScheme returns a line that stands in every fix, or only in those of http or https
// origins.
func forScheme(at, line string) (text string, there bool) {
	scheme, _, _ := strings.Cut(at, "://")
	for _, one := range []string{"http", "https"} {
		if text, found := strings.CutPrefix(line, "?"+one+" "); found {
			return text, one == scheme
		}
	}
	return line, true
}

// filler puts in what the lines have of this set-up.
func (d *doctor) filler(at, path string) *strings.Replacer {
	upstream := "http://127.0.0.1:8082"
	for _, panel := range d.Panels {
		if panel.Origin == at && panel.Upstream != "" {
			upstream = panel.Upstream
		}
	}
	_, upstreamPort, _ := net.SplitHostPort(hostPort(upstream))
	_, port, _ := net.SplitHostPort(hostPort(at))
	return strings.NewReplacer(
		"{host}", nameOf(at), "{origin}", at, "{portal}", nameOf(d.PublicURL), "{portalurl}", d.PublicURL,
		"{sallyport}", d.Listen, "{upstream}", upstream, "{upport}", upstreamPort, "{port}", port, "{path}", d.family(path), "{location}", d.location(path),
	)
}

// family returns the path that a configuration would name, where the page that
// was asked for isn't there.
func (d *doctor) family(path string) string {
	if folder, _, found := strings.Cut(path, d.mark); found {
		return folder
	}
	if path == "" {
		return "/"
	}
	return path
}

// location returns what nginx calls it.
func (d *doctor) location(path string) string {
	if i := strings.LastIndexByte(path, '.'); i > 0 && strings.Contains(path, d.mark) {
		return `~ \` + path[i:] + "$"
	}
	return d.family(path)
}

// shellWord quotes a word for a shell, where it must be.
func shellWord(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
