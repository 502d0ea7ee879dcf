package doctor

import (
	_ "embed"
	"net"
	"slices"
	"strings"
)

//go:embed fixes.txt
var fixesText string

// anyProxy stands for every proxy in fixes.txt.
const anyProxy = "any"

// fixEntry is one heading of fixes.txt with its lines.
type fixEntry struct {
	ids, proxies []string
	where        string
	lines        []string
}

// parseFixes parses fixes.txt.
func parseFixes(text string) []fixEntry {
	var all []fixEntry
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		heading, found := strings.CutPrefix(line, "== ")
		switch {
		case found:
			parts := strings.SplitN(heading, " | ", 3)
			all = append(all, fixEntry{ids: strings.Split(parts[0], ", "), proxies: strings.Split(parts[1], ", "), where: parts[2]})
		case line == "" || len(all) == 0:
		default:
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	return all
}

// fixesFor returns the fixes of a finding: those for the proxy at the finding's origin, or those
// for all proxies if that proxy wasn't recognised. path is the path of the request.
func (d *doctor) fixesFor(id, at, path string) []Fix {
	fill := d.placeholders(at, path)
	var all []Fix
	for _, m := range parseFixes(fixesText) {
		proxy := d.proxyAt(at)
		for _, one := range m.proxies {
			if slices.Contains(m.ids, id) && (one == anyProxy || proxy == "" || one == proxy) {
				fix := Fix{For: one, Where: fill.Replace(m.where), Lines: []string{}}
				for _, line := range m.lines {
					if line, applies := forScheme(at, line); applies {
						fix.Lines = append(fix.Lines, fill.Replace(line))
					}
				}
				all = append(all, fix)
			}
		}
	}
	return all
}

// forScheme reports whether a line applies to an origin: lines that begin with ?http or ?https
// apply to origins of that scheme only. text is the line without that prefix.
func forScheme(at, line string) (text string, applies bool) {
	scheme, _, _ := strings.Cut(at, "://")
	for _, one := range []string{"http", "https"} {
		if text, found := strings.CutPrefix(line, "?"+one+" "); found {
			return text, one == scheme
		}
	}
	return line, true
}

// placeholders returns a replacer of the placeholders in fixes.txt.
func (d *doctor) placeholders(at, path string) *strings.Replacer {
	upstream := "http://127.0.0.1:8082"
	for _, panel := range d.Panels {
		if panel.Origin == at && panel.Upstream != "" {
			upstream = panel.Upstream
		}
	}
	_, upstreamPort, _ := net.SplitHostPort(hostPort(upstream))
	_, port, _ := net.SplitHostPort(hostPort(at))
	record, known := d.records[at]
	if !known {
		record = exampleRecord
	}
	return strings.NewReplacer(
		"{host}", nameOf(at), "{origin}", at, "{portal}", nameOf(d.PublicURL), "{portalurl}", d.PublicURL,
		"{sallyport}", d.Listen, "{upstream}", upstream, "{upport}", upstreamPort, "{port}", port, "{record}", record, "{path}", d.configuredPath(path), "{location}", d.nginxLocation(path),
	)
}

// configuredPath returns the path that a proxy's configuration must name to cover path: the folder
// of a missing page, and any other path itself.
func (d *doctor) configuredPath(path string) string {
	if folder, _, found := strings.Cut(path, d.marker); found {
		return folder
	}
	if path == "" {
		return "/"
	}
	return path
}

// nginxLocation returns path as nginx names it in a location.
func (d *doctor) nginxLocation(path string) string {
	if i := strings.LastIndexByte(path, '.'); i > 0 && strings.Contains(path, d.marker) {
		return `~ \` + path[i:] + "$"
	}
	return d.configuredPath(path)
}

// shellWord quotes a word for a shell if it needs quotes.
func shellWord(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
