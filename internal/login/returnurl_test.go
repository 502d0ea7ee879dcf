package login

import (
	"net/url"
	"strings"
	"testing"
)

// hostileURLs are values that some browser, proxy or library reads as another host, another
// scheme or a second header, or that are no path of the portal. CheckReturn replaces each.
var hostileURLs = []string{
	"", " ", "#", "?", "a", "settings", "./settings", "../settings", "?return=/",
	"https://evil.test", "https://evil.test/", "http://evil.test", "HTTPS://EVIL.TEST", "https:evil.test", "https:/evil.test", "https:///evil.test", "http:\\\\evil.test",
	"//evil.test", "//evil.test/", "///evil.test", "////evil.test", "//evil.test@portal.example", "//portal.example@evil.test/", "//portal.example", "//", "///", "//%65vil.test", "//evil%E3%80%82test", "//[::1]/", "//0x7f.1/", "//@evil.test",
	`\evil.test`, `\\evil.test`, `/\evil.test`, `/\/evil.test`, `\/evil.test`, `/\\evil.test`, `/a\b`, `/a?b\c`, `/a#b\c`, `//\evil.test`, `/%5cevil.test`, `/%5C%5Cevil.test`, `/a/%5c..`,
	"/%2fevil.test", "/%2Fevil.test", "/%2f%2fevil.test", "%2f%2fevil.test", "%2fevil.test",
	"/\t/evil.test", "/\n/evil.test", "/\r/evil.test", "\t//evil.test", " //evil.test", "\n/settings", "/settings\n", "/settings\r\nSet-Cookie: a=b", "/settings\r\n\r\n<html>", "/\x00/evil.test", "/a\x00", "/a\x1b", "/a\x7f", "/a b", "/ /evil.test", "\v/a", "\f/a", "\ufeff//evil.test", "\u00a0//evil.test",
	"/\u2028/evil.test", "/\u2044evil.test", "/\uff0fevil.test", "\uff0f\uff0fevil.test", "/\u3002evil", "/\u202etset.live//", "/\u200b/evil.test", "/é", "/\xff", "/\xc0\xaf/evil.test", "/\x80",
	"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:https://evil.test/x", "file:///etc/passwd", "about:blank", "ftp://evil.test", "mailto:a@evil.test", "otpauth://totp/x", "x:/evil.test", ":/evil.test", "://evil.test", ":",
	"@evil.test", "user@evil.test/", ".evil.test", "evil.test:443/", "*", "/%zz", "/%", "/%a", "/a%2",
	"/logout", "/login", "/login?return=/", "/login/code", "/login/", "/login/cancel", "/%6cogin", "/logout?x", "/logout#x",
	"/" + strings.Repeat("a", 2048), "/" + strings.Repeat("a", 1<<20),
}

// allowedPaths are allowed return URLs.
var allowedPaths = []string{
	"/", "/settings/security", "/settings/security?notice=added", "/settings/security#codes", "/settings/security/authenticators/abc_-123", "/enter?panel=https%3A%2F%2Fpanel.example&return=%2Fx&state=S", "/a?b=//evil.test", "/a?u=https://evil.test/", "/a#//evil.test",
	"/loginx", "/log", "/settings/", "/a/b/../c", "/a//b", "/%20", "/%C3%A9", "/a%2fb", "/a@b", "/a:b", "/;a", "/?a", "/#a", "/~", "/" + strings.Repeat("a", 2047),
}

func TestHostileReturnURLsBecomeHome(t *testing.T) {
	if len(hostileURLs) < 60 {
		t.Fatalf("only %d hostile values, want at least 60", len(hostileURLs))
	}
	for _, raw := range hostileURLs {
		if got := CheckReturn(raw); got != "/" {
			t.Errorf("CheckReturn(%.60q) = %.60q, want /", raw, got)
		}
	}
}

func TestAllowedPathsAreKept(t *testing.T) {
	for _, raw := range allowedPaths {
		if got := CheckReturn(raw); got != raw {
			t.Errorf("CheckReturn(%.80q) = %.80q, want it unchanged", raw, got)
		}
	}
}

// growsWhenEscaped is within the maximum length, but not after escaping.
var growsWhenEscaped = "/" + strings.Repeat("|", 1000)

func TestReturnURLKeepsItsBound(t *testing.T) {
	if got := CheckReturn(growsWhenEscaped); len(got) > maxReturnURL {
		t.Errorf("a return URL of %d bytes becomes one of %d, which the next check replaces by /; want at most %d, or /", len(growsWhenEscaped), len(got), maxReturnURL)
	}
}

func FuzzCheckReturn(f *testing.F) {
	for _, raw := range append(hostileURLs, allowedPaths...) {
		if len(raw) < 3000 {
			f.Add(raw)
		}
	}
	portal, err := url.Parse("https://portal.example/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := CheckReturn(raw)
		if got == "/" {
			return
		}
		for i := range len(got) {
			if got[i] <= ' ' || got[i] == '\\' || got[i] >= 0x7f {
				t.Fatalf("CheckReturn(%q) = %q, with byte %#x, want it escaped", raw, got, got[i])
			}
		}
		if got[0] != '/' || strings.HasPrefix(got, "//") {
			t.Fatalf("CheckReturn(%q) = %q, which isn't a path", raw, got)
		}
		if own, err := url.Parse(got); err != nil || own.String() != got {
			t.Fatalf("CheckReturn(%q) = %q, which net/url writes differently: %v, %v", raw, got, own, err)
		}
		u, err := portal.Parse(got)
		if err != nil {
			t.Fatalf("CheckReturn(%q) = %q: %v", raw, got, err)
		}
		if u.Scheme != "https" || u.Host != "portal.example" || u.User != nil {
			t.Fatalf("CheckReturn(%q) = %q leads to %s, want the portal", raw, got, u)
		}
		if again := CheckReturn(got); again != got && len(got) <= maxReturnURL {
			t.Fatalf("CheckReturn(%q) = %q, and CheckReturn of that = %q; want the same", raw, got, again)
		}
	})
}
