package web

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/login"
)

func TestAnAddressTravelsAsFarAsItCan(t *testing.T) {
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
		"signs that cookies lack": {"/a?q=" + strings.Repeat(`;,"~`, 400), true, false, "/a"},
	} {
		back := wayBackTo(test.address)
		if (back.cookie != "") != test.cookie || back.kept != test.kept {
			t.Errorf("%s: cookie %v, kept %v", name, back.cookie != "", back.kept)
		}
		if got := demandPath(back.path); got != test.sought {
			t.Errorf("%s: %q is sought, want %q", name, got, test.sought)
		}
		if login.CheckPath(back.path) != back.path || len(url.QueryEscape(back.path)) > 3*maxInAddress {
			t.Errorf("%s: %q doesn't travel", name, back.path)
		}
	}
}

// FuzzBack: what a cookie holds is the address, and fits.
func FuzzBack(f *testing.F) {
	for _, address := range []string{"/", "/a?b=c;d,e\"f~1", "/~0~1", strings.Repeat("/a", 2000)} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		address := login.CheckAddress(raw)
		held := encodeBack(address)
		if decodeBack(held) != address {
			t.Errorf("%q comes back as %q", address, decodeBack(held))
		}
		if strings.ContainsAny(held, "; ,\"\\\r\n") {
			t.Errorf("%q can't stand in a cookie", held)
		}
		back := wayBackTo(address)
		if back.cookie == "" && !back.kept && back.path != address {
			t.Errorf("%q travels as %q", address, back.path)
		}
		if !strings.HasPrefix(address, folderOf(address)) || len(folderOf(address)) > maxFolder {
			t.Errorf("the folder of %q is %q", address, folderOf(address))
		}
	})
}
