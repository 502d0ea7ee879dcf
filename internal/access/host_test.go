package access

import (
	"strings"
	"testing"
)

func TestR22HostIsOneOrNone(t *testing.T) {
	label := strings.Repeat("a", maxLabelLength)
	long := strings.Repeat(label+".", 3)
	for host, want := range map[string]string{
		"panel.example.com":       "panel.example.com",
		"Panel.EXAMPLE.com":       "panel.example.com",
		"panel.example.com:443":   "panel.example.com",
		"panel.example.com:65535": "panel.example.com",
		"localhost":               "localhost",
		"my_nas:8080":             "my_nas",
		"XN--BCHER-KVA.example":   "xn--bcher-kva.example",
		"192.0.2.7":               "192.0.2.7",
		"192.0.2.7:80":            "192.0.2.7",
		"[2001:DB8::0:1]":         "[2001:db8::1]",
		"[2001:db8::1]:8443":      "[2001:db8::1]",
		"1.example":               "1.example",
		"0x.example":              "0x.example",
		label + ".com":            label + ".com",
		long + label[:61]:         long + label[:61],

		"":                               "",
		".":                              "",
		":443":                           "",
		"panel.example.com.":             "",
		"panel.example.com.:443":         "",
		".example.com":                   "",
		"panel..example.com":             "",
		"panel.example.com:":             "",
		"panel.example.com:0":            "",
		"panel.example.com:65536":        "",
		"panel.example.com:https":        "",
		"panel.example.com:+80":          "",
		"panel.example.com:80:80":        "",
		"panel.example.com:80, evil":     "",
		"panel.example.com,evil.example": "",
		"panel.example.com evil.example": "",
		" panel.example.com":             "",
		"panel.example.com\t":            "",
		"panel.example.com\r\nX: y":      "",
		"panel.example.com\x00":          "",
		"user@panel.example.com":         "",
		"user:80@panel.example.com":      "",
		"https://panel.example.com":      "",
		"panel.example.com/x":            "",
		"panel.example.com?x":            "",
		"panel.example.com#x":            "",
		`panel.example.com\x`:            "",
		"panel%2eexample.com":            "",
		"panel.example.com;x":            "",
		"*.example.com":                  "",
		"\u212Ait.example":               "", // Kelvin sign
		"b\u00fccher.example":            "",
		"panel\u3002example.com":         "", // ideographic full stop
		"panel.example.com\xff":          "",
		"127.1":                          "",
		"2130706433":                     "",
		"0x7f000001":                     "",
		"0X7F.1":                         "",
		"0x":                             "",
		"0177.0.0.1":                     "",
		"127.0.0.256":                    "",
		"1.2.3.4.5":                      "",
		"panel.7":                        "",
		"::1":                            "",
		"2001:db8::1":                    "",
		"[::1":                           "",
		"::1]":                           "",
		"[]":                             "",
		"[]:80":                          "",
		"[[::1]]":                        "",
		"[::1]]":                         "",
		"[::1]x":                         "",
		"[::1]x:80":                      "",
		"[::1]:":                         "",
		"[::1]:80:80":                    "",
		"[fe80::1%25eth0]":               "",
		"[fe80::1%eth0]":                 "",
		"[127.0.0.1]":                    "",
		"[panel.example.com]":            "",
		"x[::1]":                         "",
		label + "a.com":                  "",
		long + label[:62]:                "",
	} {
		got, err := CanonicalHost(host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("host %q: got %q, error %v; want %q", host, got, err, want)
		}
	}
}

func TestR22HostErrorsRepeatLittle(t *testing.T) {
	_, err := CanonicalHost(strings.Repeat("a", 1<<20) + "\r\n")
	if err == nil || len(err.Error()) > 2*maxHostLength || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("the error repeats too much of the host, or a line break: %v", err)
	}
}

func TestSameHostWhateverPortAndCase(t *testing.T) {
	for _, pair := range [][2]string{{"a.example", "A.EXAMPLE:443"}, {"[2001:DB8::0:1]:1", "[2001:db8::1]"}} {
		if !SameHost(pair[0], pair[1]) {
			t.Errorf("%q and %q aren't the same host", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"a.example", "a.example."}, {"", ""}, {"a.example,b.example", "a.example,b.example"}, {"a.example", "b.example"}} {
		if SameHost(pair[0], pair[1]) {
			t.Errorf("%q and %q are the same host", pair[0], pair[1])
		}
	}
}

func TestADotAtTheEndIsAnotherHost(t *testing.T) {
	for host, want := range map[string]string{
		"A.example.": "a.example", "a.example.:8443": "a.example", "a.example": "", "a.example..": "", ".": "", "": "", "a,b.": "",
	} {
		if got := WithoutLastDot(host); got != want {
			t.Errorf("host %q without the last dot: %q, want %q", host, got, want)
		}
	}
}
