package access

import (
	"net/http"
	"testing"
)

func fetch(mode, dest string) http.Header {
	return http.Header{"Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}, "Accept": {"text/html,*/*"}}
}

func TestClientKindFollowsFetchMetadata(t *testing.T) {
	for name, test := range map[string]struct {
		method   string
		header   http.Header
		want     ClientKind
		document bool
	}{
		"a link":                     {"GET", fetch("navigate", "document"), Navigation, true},
		"a service worker's forward": {"GET", fetch("navigate", "empty"), Navigation, false},
		"a mode without destination": {"GET", http.Header{"Sec-Fetch-Mode": {"navigate"}}, Navigation, false},
		"a form":                     {"POST", fetch("navigate", "document"), Viewer, true},
		"a form in a frame":          {"POST", fetch("navigate", "iframe"), Viewer, false},
		"an iframe":                  {"GET", fetch("navigate", "iframe"), Viewer, false},
		"an old frame":               {"GET", fetch("navigate", "frame"), Viewer, false},
		"an object":                  {"GET", fetch("navigate", "object"), Viewer, false},
		"fetch":                      {"GET", fetch("cors", "empty"), Script, false},
		"an image":                   {"GET", fetch("no-cors", "image"), Script, false},
		"a WebSocket":                {"GET", fetch("websocket", "empty"), Script, false},
		"a destination without mode": {"GET", http.Header{"Sec-Fetch-Dest": {"document"}, "Accept": {"text/html"}}, Script, false},
		"a prefetch":                 {"GET", http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Purpose": {"prefetch;prerender"}}, Script, true},
		"an old browser":             {"GET", http.Header{"Accept": {"text/html,*/*"}}, Navigation, true},
		"an old browser's form":      {"POST", http.Header{"Accept": {"text/html,*/*"}}, Viewer, true},
		"curl":                       {"GET", http.Header{"Accept": {"*/*"}}, Script, false},
		"nothing":                    {"GET", nil, Script, false},
	} {
		if got := ClientKindOf(test.method, test.header); got != test.want {
			t.Errorf("%s: client kind %v, want %v", name, got, test.want)
		}
		if got := IsDocument(test.header); got != test.document {
			t.Errorf("%s: IsDocument is %v, want %v", name, got, test.document)
		}
	}
}

func TestBrowsersGetNoBasicChallenge(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		basic  bool
	}{
		"git":                       {http.Header{"User-Agent": {"git/2.39.5"}, "Accept": {"*/*"}}, true},
		"nothing":                   {nil, true},
		"fetch over https":          {http.Header{"Sec-Fetch-Mode": {"cors"}}, false},
		"fetch over plain http":     {http.Header{"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64)"}, "Accept": {"*/*"}}, false},
		"hints only":                {http.Header{"Sec-Ch-Ua": {"x"}}, false},
		"a page's script":           {http.Header{"Referer": {"http://a.example/"}}, false},
		"another site's script":     {http.Header{"Origin": {"http://a.example"}}, false},
		"a browser that signed in":  {http.Header{"Cookie": {"a=b; __Host-sallyport-visit=x"}}, false},
		"a person":                  {http.Header{"Accept": {"text/plain", "text/html"}}, false},
		"a script with its library": {http.Header{"X-Requested-With": {"XMLHttpRequest"}}, false},
	} {
		answer := http.Header{}
		Challenge(answer, test.header)
		got := answer.Values("WWW-Authenticate")
		if len(got) == 0 || got[0] != `Bearer realm="Sallyport"` || (len(got) == 2) != test.basic {
			t.Errorf("%s: challenges %q, want Bearer, and Basic: %v", name, got, test.basic)
		}
	}
}
