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

// proxyFile is how a file of deploy/proxy names the request headers that it deletes, and
// which of access.ProxyHeaders it leaves to its proxy, since that sets them itself.
type proxyFile struct {
	file   string
	names  *regexp.Regexp // the first group is a name, or a beginning with "*"
	itself []string
}

var proxyFiles = []proxyFile{
	{"nginx/sallyport-headers.conf", regexp.MustCompile(`(?m)^proxy_set_header (\S+) .*;$`), nil},
	{"sallyport.caddy", regexp.MustCompile(`(?m)^\trequest_header -?(\S+)`), []string{"X-Forwarded-For", "X-Forwarded-Proto"}},
	// Its families and its names.
	{"sallyport.lua", regexp.MustCompile(`"([a-z0-9-]+)",`), nil},
	{"traefik.yml", regexp.MustCompile(`(?m)^ {10}(\S+): ""$`), []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip"}},
	{"envoy.yaml", regexp.MustCompile(`(?m)([a-z0-9-]+)(?:,|$)`), []string{"X-Envoy-External-Address", "X-Forwarded-For", "X-Forwarded-Proto"}},
}

// removed is the part of a file that deletes headers.
func (f proxyFile) removed(t *testing.T) string {
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

// Every file deletes or sets every header that panels may take for a proxy's word, so that
// the list in package access and the files can't drift apart. Apache stands before the
// gateway, which deletes them.
func TestEachProxysFileDeletesEveryProxyHeader(t *testing.T) {
	t.Parallel()
	for _, f := range proxyFiles {
		var exact, beginnings []string
		families, _, _ := strings.Cut(f.removed(t), "local names")
		for _, found := range f.names.FindAllStringSubmatchIndex(f.removed(t), -1) {
			name := strings.ToLower(f.removed(t)[found[2]:found[3]])
			beginning, isFamily := strings.CutSuffix(name, "*")
			if isFamily || f.file == "sallyport.lua" && found[2] < len(families) {
				beginnings = append(beginnings, beginning)
			} else {
				exact = append(exact, name)
			}
		}
		for _, name := range access.ProxyHeaders() {
			lower := strings.ToLower(name)
			deleted := slices.Contains(exact, lower) || slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(lower, b) })
			if own := slices.Contains(f.itself, name); !deleted && !own {
				t.Errorf("deploy/proxy/%s passes the client's %s to panels", f.file, name)
			}
		}
	}
}
