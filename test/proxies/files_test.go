package proxies

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/testkit"
)

// proxyFile describes a file of deploy/proxy: how the file names the request headers that
// it deletes, and which of access.ProxyHeaders the proxy sets itself.
type proxyFile struct {
	file  string
	names *regexp.Regexp // the first group is a name, or a prefix with "*"
	set   []string
}

var proxyFiles = []proxyFile{
	{"nginx/sallyport-headers.conf", regexp.MustCompile(`(?m)^proxy_set_header (\S+) .*;$`), nil},
	{"sallyport.caddy", regexp.MustCompile(`(?m)^\trequest_header -?(\S+)`), []string{"X-Forwarded-For", "X-Forwarded-Proto"}},
	// Its table "families" holds prefixes, and "names" holds names.
	{"sallyport.lua", regexp.MustCompile(`"([a-z0-9-]+)",`), nil},
	{"traefik.yml", regexp.MustCompile(`(?m)^ {10}(\S+): ""$`), []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip"}},
	{"envoy.yaml", regexp.MustCompile(`(?m)([a-z0-9-]+)(?:,|$)`), []string{"X-Envoy-External-Address", "X-Forwarded-For", "X-Forwarded-Proto"}},
}

// deletions returns the part of a file that deletes headers.
func (f proxyFile) deletions(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(testkit.Path("deploy/proxy/" + f.file))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for file, ends := range map[string][2]string{"sallyport.lua": {"local families", "local function"}, "envoy.yaml": {"request_headers_to_remove", "]"}} {
		if file == f.file {
			_, text, _ = strings.Cut(text, ends[0])
			text, _, _ = strings.Cut(text, ends[1])
		}
	}
	return text
}

// Every file deletes or sets every header that panels may trust as set by a proxy, so the
// list in package access and the files agree. Apache's file isn't among them: it is used in
// front of the gateway, which deletes the headers.
func TestEachProxyFileDeletesEveryProxyHeader(t *testing.T) {
	t.Parallel()
	for _, f := range proxyFiles {
		var exact, prefixes []string
		families, _, _ := strings.Cut(f.deletions(t), "local names")
		for _, found := range f.names.FindAllStringSubmatchIndex(f.deletions(t), -1) {
			name := strings.ToLower(f.deletions(t)[found[2]:found[3]])
			prefix, isPrefix := strings.CutSuffix(name, "*")
			if isPrefix || f.file == "sallyport.lua" && found[2] < len(families) {
				prefixes = append(prefixes, prefix)
			} else {
				exact = append(exact, name)
			}
		}
		for _, name := range access.ProxyHeaders() {
			lower := strings.ToLower(name)
			deleted := slices.Contains(exact, lower) || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(lower, p) })
			if own := slices.Contains(f.set, name); !deleted && !own {
				t.Errorf("deploy/proxy/%s doesn't delete the client's %s", f.file, name)
			}
		}
	}
}
