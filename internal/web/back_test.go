package web

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/login"
)

func TestReturnAddressUsesTheURLThenACookieThenStorage(t *testing.T) {
	for name, test := range map[string]struct {
		address      string
		cookie, kept bool
		sought       string
	}{
		"short":                   {"/a?x=1", false, false, "/a?x=1"},
		"with a fragment":         {"/a?x=1#/b", false, false, "/a?x=1"},
		"a long query":            {"/explore?q=" + strings.Repeat("x", 1400), true, false, "/explore"},
		"a query full of escapes": {"/explore?q=" + strings.Repeat("%22", 300), true, false, "/explore"},
		"a long path":             {"/files/" + strings.Repeat("y", 700) + "/z", true, false, "/files/"},
		"longer than a cookie":    {"/explore?q=" + strings.Repeat("x", 7500), false, true, "/explore"},
		"signs not for cookies":   {"/a?q=" + strings.Repeat(`;,"~`, 400), true, false, "/a"},
	} {
		back := newReturnAddress(test.address)
		if (back.cookie != "") != test.cookie || back.kept != test.kept {
			t.Errorf("%s: stored in a cookie: %v, by the script: %v; want %v, %v", name, back.cookie != "", back.kept, test.cookie, test.kept)
		}
		if got := demandPath(back.path); got != test.sought {
			t.Errorf("%s: the path for the panel's demand is %q, want %q", name, got, test.sought)
		}
		if login.CheckPath(back.path) != back.path || len(url.QueryEscape(back.path)) > 3*maxInAddress {
			t.Errorf("%s: the path %q is too long for the sign-in's URLs, or not a valid return path", name, back.path)
		}
	}
}

// FuzzBack checks that an address is the same after it is encoded for a cookie and decoded, and
// that the encoded form is valid in a cookie.
func FuzzBack(f *testing.F) {
	for _, address := range []string{"/", "/a?b=c;d,e\"f~1", "/~0~1", strings.Repeat("/a", 2000)} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		address := login.CheckAddress(raw)
		held := encodeBack(address)
		if decodeBack(held) != address {
			t.Errorf("address %q is %q after encoding and decoding", address, decodeBack(held))
		}
		if strings.ContainsAny(held, "; ,\"\\\r\n") {
			t.Errorf("the encoded address %q isn't valid in a cookie", held)
		}
		back := newReturnAddress(address)
		if back.cookie == "" && !back.kept && back.path != address {
			t.Errorf("the short address %q has the return path %q, want the address itself", address, back.path)
		}
		if !strings.HasPrefix(address, folderOf(address)) || len(folderOf(address)) > maxFolder {
			t.Errorf("the folder of %q is %q, which isn't a prefix or is too long", address, folderOf(address))
		}
	})
}
