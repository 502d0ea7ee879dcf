package access

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	nothing   = Demand{Requirement: Public}
	session   = Demand{Requirement: Session}
	twoFactor = Demand{Requirement: TwoFactor}
	forOps    = Demand{Requirement: Session, Groups: []string{"ops"}}
	forStaff  = Demand{Requirement: Session, Groups: []string{"staff"}}
	freshOps  = Demand{Requirement: TwoFactor, Groups: []string{"ops"}, MaxAge: FreshFor}
)

// panel returns a panel with rules.
func panel(t testing.TB, d Demand, rules ...Rule) *Panel {
	t.Helper()
	p, err := NewPanel("https://panel.example.com", d, rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// answer is the result of DemandOf for a path.
type answer struct {
	Demand Demand
	OK     bool
}

var no = answer{}

func yes(d Demand) answer { return answer{d, true} }

func demandOf(p *Panel, path string) answer {
	d, ok := p.DemandOf(path)
	return answer{d, ok}
}

// TestR22CanonicalOrDenied sends the paths of attack 91 and others to two panels: one requires
// two factors only below /admin/, the other is open only below /public/.
func TestR22CanonicalOrDenied(t *testing.T) {
	guarded := panel(t, session, Rule{"/admin/", twoFactor}, Rule{"/kit", twoFactor})
	opened := panel(t, twoFactor, Rule{"/public/", nothing}, Rule{"/health", nothing})
	for _, test := range []struct {
		path            string
		guarded, opened answer
	}{
		// Plain paths.
		{"/", yes(session), yes(twoFactor)},
		{"/x", yes(session), yes(twoFactor)},
		{"/admin/", yes(twoFactor), yes(twoFactor)},
		{"/admin/users/7", yes(twoFactor), yes(twoFactor)},
		{"/admin", yes(twoFactor), yes(twoFactor)},
		{"/administrator", yes(session), yes(twoFactor)},
		{"/x/admin/", yes(session), yes(twoFactor)},
		{"/public/", yes(session), yes(nothing)},
		{"/public/a.js", yes(session), yes(nothing)},
		{"/public/~a/b+c,(d)!$&'*=:@-._~", yes(session), yes(nothing)},
		{"/public", yes(session), yes(twoFactor)},
		{"/publicity", yes(session), yes(twoFactor)},
		{"/health", yes(session), yes(nothing)},
		{"/health/", yes(session), yes(twoFactor)},
		{"/healthy", yes(session), yes(twoFactor)},
		{"/kit", yes(twoFactor), yes(twoFactor)},
		{"/kit/", yes(twoFactor), yes(twoFactor)},
		{"/kit/x", yes(session), yes(twoFactor)},
		{"/kits", yes(session), yes(twoFactor)},

		// The query is ignored.
		{"/public/?x", yes(session), yes(nothing)},
		{"/admin/?/../public/", yes(twoFactor), yes(twoFactor)},
		{"/x?/admin/", yes(session), yes(twoFactor)},
		{"/x?/public/%zz%00#;\\", yes(session), yes(twoFactor)},
		{"/admin?", yes(twoFactor), yes(twoFactor)},
		{"/health?x?y", yes(session), yes(nothing)},

		// Other case.
		{"/ADMIN", yes(twoFactor), yes(twoFactor)},
		{"/Admin/Users", yes(twoFactor), yes(twoFactor)},
		{"/PUBLIC/", yes(session), yes(twoFactor)},
		{"/Health", yes(session), yes(twoFactor)},
		{"/%41DMIN/", no, yes(twoFactor)},

		// Encoded once.
		{"/%61dmin", no, yes(twoFactor)},
		{"/%61dmin/users", no, yes(twoFactor)},
		{"/admin/%75sers", yes(twoFactor), yes(twoFactor)},
		{"/public/%61", yes(session), yes(twoFactor)},
		{"/%70ublic/", yes(session), yes(twoFactor)},
		{"/a%20b", yes(session), yes(twoFactor)},
		{"/caf%C3%A9", yes(session), yes(twoFactor)},
		{"/100%25", yes(session), yes(twoFactor)},

		// Dot segments.
		{"/./admin", no, yes(twoFactor)},
		{"/admin/./users", yes(twoFactor), yes(twoFactor)},
		{"/admin/.", yes(twoFactor), yes(twoFactor)},
		{"/admin/..", no, yes(twoFactor)},
		{"/admin/../x", no, yes(twoFactor)},
		{"/admin/x/../y", yes(twoFactor), yes(twoFactor)},
		{"/../admin/", no, yes(twoFactor)},
		{"/public/../admin", no, yes(twoFactor)},
		{"/public/%2e%2e/admin", no, yes(twoFactor)},
		{"/public/%2E./admin", no, yes(twoFactor)},
		{"/public/.%2e/x", yes(session), yes(twoFactor)},
		{"/public/./a", yes(session), yes(twoFactor)},
		{"/public/x/../a", yes(session), yes(twoFactor)},
		{"/x/../public/a", yes(session), yes(twoFactor)},
		{"/x/%2e%2e/../admin/", no, yes(twoFactor)}, // the order of decoding and resolving matters

		// Doubled slashes.
		{"//admin", no, yes(twoFactor)},
		{"/admin//", yes(twoFactor), yes(twoFactor)},
		{"/admin//users", yes(twoFactor), yes(twoFactor)},
		{"/x//admin/", yes(session), yes(twoFactor)},
		{"//x/admin/", no, yes(twoFactor)}, // x may be a host
		{"///admin/", no, yes(twoFactor)},
		{"//public/a", yes(session), yes(twoFactor)},
		{"/public//a", yes(session), yes(twoFactor)},
		{"/admin//../x", no, yes(twoFactor)}, // /x, or in RFC 3986 /admin/x

		// Slashes, backslashes, NUL, parameters.
		{"/admin%2f", no, no},
		{"/admin%2F", no, no},
		{"/public/..%2fadmin", no, no},
		{"/public/%5c..", no, no},
		{"/public/%5C..", no, no},
		{`/public\..\admin`, no, no},
		{`\admin`, no, no},
		{"/admin%00", no, no},
		{"/x%00", no, no},
		{"/admin;x=1", no, no},
		{"/admin/..;/public/", no, no},
		{"/public/..;/admin", no, no},
		{"/public/;/x", no, no},
		{"/public/a%3bx", no, no},
		{"/public/a%3Bx", no, no},

		// Double encoding, and invalid escapes.
		{"/public/%252e%252e/admin", no, no},
		{"/%2561dmin", no, no},
		{"/%25%36%31dmin", no, no},
		{"/%2525", no, no},
		{"/%zz", no, no},
		{"/public/%", no, no},
		{"/public/%2", no, no},
		{"/%u0061dmin", no, no},

		// Control characters, bytes that aren't UTF-8, overlong forms.
		{"/a%0d%0ab", no, no},
		{"/a\tb", no, no},
		{"/a%7f", no, no},
		{"/a%c2%85", no, no},
		{"/a b", no, no},
		{"/%ff", no, no},
		{"/a\xff", no, no},
		{"/public/..%c0%afadmin", no, no},
		{"/public/%c0%ae%c0%ae/admin", no, no},
		{"/%e0%80%af", no, no},
		{"/%ed%a0%80", no, no},

		// Characters that become others when case or width is ignored.
		{"/\u212Ait", yes(twoFactor), yes(twoFactor)}, // Kelvin sign
		{"/%e2%84%aait", no, yes(twoFactor)},
		{"/adm\u0131n/", yes(twoFactor), yes(twoFactor)}, // dotless i
		{"/adm%c4%b0n/", no, yes(twoFactor)},             // dotted I
		{"/%ef%bd%81dmin/", no, yes(twoFactor)},          // full-width a
		{"/a%cc%81dmin/", no, yes(twoFactor)},            // a with an accent
		{"/ad%c2%admin/", no, yes(twoFactor)},            // soft hyphen
		{"/ad%e2%80%8dmin/", no, yes(twoFactor)},         // joiner
		{"/public%ef%bc%8fa", no, no},                    // full-width slash
		{"/public/%ef%bc%8e%ef%bc%8e/admin", no, no},     // full-width dots
		{"/public/%e2%80%a5/admin", no, no},              // two dots in one
		{"/a%ef%bc%8561", no, no},                        // full-width per cent
		{"/a%ef%bc%9b", no, no},                          // full-width semicolon
		{"/m%c2%b2", yes(session), yes(twoFactor)},
		{"/%f0%9f%94%90", yes(session), yes(twoFactor)},

		// Dots and spaces at the end of a segment, which Windows drops.
		{"/admin./", yes(twoFactor), yes(twoFactor)},
		{"/admin...", yes(twoFactor), yes(twoFactor)},
		{"/admin%20/", no, yes(twoFactor)},
		{"/kit.", yes(twoFactor), yes(twoFactor)},
		{"/public./", yes(session), yes(twoFactor)},
		{"/public/a.", yes(session), yes(nothing)},
		{"/public/.../admin", no, no},
		{"/public/..%20/admin", no, no},
		{"/x/%20", no, no},

		// Fragments, decoded queries.
		{"/admin#", no, no},
		{"/public/#/../admin", no, no},
		{"/admin%23x", no, yes(twoFactor)},
		{"/admin%3fx", no, yes(twoFactor)},
		{"/x/../admin%3f/../..", no, yes(twoFactor)},
		{"/what%3f", yes(session), yes(twoFactor)},

		// Not a path.
		{"", no, no},
		{"?", no, no},
		{"?/public/", no, no},
		{"*", no, no},
		{"public/", no, no},
		{"http://panel.example.com/public/", no, no},
		{"panel.example.com:443", no, no},
		{"%2fpublic/", no, no},
	} {
		if diff := cmp.Diff(test.guarded, demandOf(guarded, test.path)); diff != "" {
			t.Errorf("demand for %q on the panel with two factors below /admin/ (-want +got):\n%s", test.path, diff)
		}
		if diff := cmp.Diff(test.opened, demandOf(opened, test.path)); diff != "" {
			t.Errorf("demand for %q on the panel with nothing below /public/ (-want +got):\n%s", test.path, diff)
		}
	}
}

func TestR22EveryPathIsAcceptedWhereRulesDoNotDiffer(t *testing.T) {
	for name, p := range map[string]*Panel{
		"none":       {Demand: twoFactor},
		"equivalent": panel(t, twoFactor, Rule{"/admin/", twoFactor}),
	} {
		for _, path := range []string{"", "*", "/%zz", "/%252e", "/\x00", "//..;/", "/\xff", "http://a/b", strings.Repeat("/", maxPathLength+1)} {
			if diff := cmp.Diff(yes(twoFactor), demandOf(p, path)); diff != "" {
				t.Errorf("rules: %s; demand for %.20q (-want +got):\n%s", name, path, diff)
			}
		}
	}
}

func TestR22FirstRuleCounts(t *testing.T) {
	for _, test := range []struct {
		name  string
		panel *Panel
		want  map[string]answer
	}{
		{"order", panel(t, session, Rule{"/a/b/", nothing}, Rule{"/a/", twoFactor}, Rule{"/a/c/", nothing}), map[string]answer{
			"/a/b/x": yes(nothing), "/a/x": yes(twoFactor), "/a/c/x": yes(twoFactor), "/x": yes(session),
			"/a/B/x": yes(twoFactor), "/a/b/%61": yes(twoFactor), "/a/b/../b/x": yes(twoFactor),
		}},
		{"the root", panel(t, twoFactor, Rule{"/hook", session}, Rule{"/", nothing}), map[string]answer{
			"/": yes(nothing), "/x/y": yes(nothing), "/hook": yes(session), "/HOOK": yes(session), "/hook/": yes(session),
			"/x%20y": yes(twoFactor), "/%68ook": yes(twoFactor),
		}},
		// An inner rule may ask for less than the panel, but for more than the rule around it.
		// It protects its paths in every case of their letters.
		{"less, and even less around it", panel(t, twoFactor, Rule{"/public/api/", session}, Rule{"/public/", nothing}), map[string]answer{
			"/public/api/x": yes(session), "/public/API/x": yes(session), "/public/api": yes(session),
			"/public/x": yes(nothing), "/PUBLIC/x": yes(twoFactor), "/Public/Api/x": yes(twoFactor),
		}},
		{"the panel's own demand", panel(t, twoFactor, Rule{"/public/admin/", twoFactor}, Rule{"/public/", nothing}), map[string]answer{
			"/public/admin/x": yes(twoFactor), "/public/Admin/x": yes(twoFactor), "/public/admin": yes(twoFactor),
			"/public/admin./x": yes(twoFactor), "/public/adm\u0131n/x": yes(twoFactor), "/public/administrator": yes(nothing),
		}},
		{"paths that differ in case", panel(t, nothing, Rule{"/Admin/", session}, Rule{"/admin/", twoFactor}), map[string]answer{
			"/Admin/x": yes(session), "/admin/x": yes(twoFactor), "/ADMIN/x": yes(session),
		}},
		{"paths that differ in case, other groups", panel(t, nothing, Rule{"/Admin/", forOps}, Rule{"/admin/", forStaff}), map[string]answer{
			"/Admin/x": yes(forOps), "/admin/x": no, "/ADMIN/x": yes(forOps),
		}},
		{"another group", panel(t, forStaff, Rule{"/ops/", forOps}), map[string]answer{
			"/ops/x": yes(forOps), "/Ops/x": yes(forOps), "/ops": yes(forOps), "/%6fps/x": no, "/ops/../x": no, "/x": yes(forStaff),
		}},
		{"other groups within", panel(t, nothing, Rule{"/a/", forOps}, Rule{"/a/b/", forStaff}), map[string]answer{
			"/a/b/x": yes(forOps), "/a/b/x%20y": yes(forOps), "/A/b/x": yes(forOps),
		}},
		// A panel that drops dots but respects case applies the second rule.
		{"less within more", panel(t, nothing, Rule{"/a/b/", session}, Rule{"/a/", twoFactor}), map[string]answer{
			"/a/b/x": yes(session), "/A/b/x": yes(session), "/a/B/x": yes(twoFactor), "/a./B/x": yes(twoFactor),
			"/a/b": yes(twoFactor), "/A/b": yes(twoFactor), "/A": yes(twoFactor), "/x": yes(nothing),
		}},
		{"less for one case only", panel(t, session, Rule{"/a/b/", nothing}, Rule{"/a/", twoFactor}, Rule{"/c/d/", nothing}, Rule{"/C/", twoFactor}), map[string]answer{
			"/a/B/x": yes(twoFactor), "/c/d/x": yes(nothing), "/c/D/x": yes(twoFactor), "/C/d/x": yes(twoFactor),
		}},
		{"the last rule has the panel's demand", panel(t, session, Rule{"/a/", twoFactor}, Rule{"/b/", session}), map[string]answer{
			"/a/x": yes(twoFactor), "/b/x": yes(session),
		}},
		{"all at once", panel(t, forOps, Rule{"/admin/", freshOps}, Rule{"/status", nothing}), map[string]answer{
			"/ADMIN": yes(freshOps), "/status": yes(nothing), "/STATUS": yes(forOps), "/status/": yes(forOps), "/./status": yes(forOps),
		}},
		{"closed", panel(t, session, Rule{"/.git/", Demand{}}), map[string]answer{
			"/.git/config": yes(Demand{}), "/.GIT": yes(Demand{}), "/.g\u200cit/": yes(Demand{}), "/.github/": yes(session),
		}},
		{"beyond ASCII", panel(t, session, Rule{"/straße/büro/", twoFactor}), map[string]answer{
			"/straße/büro/x": yes(twoFactor), "/STRASSE/BU\u0308RO": yes(twoFactor), "/stra%C3%9Fe/b%C3%BCro/": no,
		}},
	} {
		for path, want := range test.want {
			if diff := cmp.Diff(want, demandOf(test.panel, path)); diff != "" {
				t.Errorf("%s: demand for %q (-want +got):\n%s", test.name, path, diff)
			}
		}
	}
}

func TestR22RulesAreCanonicalThemselves(t *testing.T) {
	for path, want := range map[string]string{
		"":                  `rule 2: path "" must begin with "/"`,
		"admin/":            `rule 2: path "admin/" must begin with "/"`,
		"/a%20b":            `rule 2: path "/a%20b" must be written without escapes, query and fragment`,
		"/a?b":              `rule 2: path "/a?b" must be written without escapes, query and fragment`,
		"//admin/":          `rule 2: path "//admin/" must be written without dot segments and doubled slashes`,
		"/a/./b":            `rule 2: path "/a/./b" must be written without dot segments and doubled slashes`,
		"/admin/..":         `rule 2: path "/admin/.." must be written without dot segments and doubled slashes`,
		"/admin/..;/":       `rule 2: path "/admin/..;/" has characters that no path may have where rules differ`,
		`/a\b`:              `rule 2: path "/a\\b" has characters that no path may have where rules differ`,
		"/a\x00":            `rule 2: path "/a\x00" has characters that no path may have where rules differ`,
		"/\xff":             `rule 2: path "/\xff" has characters that no path may have where rules differ`,
		"/a/.../b":          `rule 2: path "/a/.../b" has characters that no path may have where rules differ`,
		"/public/caf\u00e9": `rule 2: path "/public/café" asks for less than the panel, so it may have only characters that browsers don't escape`,
	} {
		_, err := NewPanel("https://panel.example.com", twoFactor, []Rule{{"/a", nothing}, {path, nothing}})
		if err == nil || err.Error() != want {
			t.Errorf("error for the rule's path: %v, want %s", err, want)
		}
	}
	_, err := NewPanel("https://panel.example.com", session, []Rule{{"a", nothing}, {"/b", nothing}, {"c", twoFactor}})
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("error %v, want a line for each of the two faulty rules", err)
	}
}

func TestR22LongPathsAreDeniedUnlessPlain(t *testing.T) {
	p := panel(t, twoFactor, Rule{"/public/", nothing})
	long := "/public/" + strings.Repeat("a", maxPathLength)
	for path, want := range map[string]answer{long: yes(nothing), long + "%20": no, strings.Repeat("/", maxPathLength+1): no} {
		if diff := cmp.Diff(want, demandOf(p, path)); diff != "" {
			t.Errorf("demand for %.20q… (-want +got):\n%s", path, diff)
		}
	}
}

// TestR22ReadingsAreBounded: a path with very many readings is refused, so that it can't cost
// the server much time.
func TestR22ReadingsAreBounded(t *testing.T) {
	path := strings.Repeat("//a/../%2e%2e", 100)
	if all, ok := readings(path); ok {
		t.Errorf("the path is accepted with %d readings", len(all))
	}
}

func TestR22PlainPathsCostNoMemory(t *testing.T) {
	p := benchPanel(t)
	for _, path := range []string{"/admin/users/7?sort=name", "/static/app.4f2a.js", "/x/y/z"} {
		if got := testing.AllocsPerRun(100, func() { p.DemandOf(path) }); got != 0 {
			t.Errorf("%s: %v allocations, want 0", path, got)
		}
	}
}

func benchPanel(t testing.TB) *Panel {
	return panel(t, session, Rule{"/health", nothing}, Rule{"/static/", nothing}, Rule{"/api/admin/", twoFactor}, Rule{"/admin/", twoFactor})
}

func BenchmarkDemandOf(b *testing.B) {
	p := benchPanel(b)
	for name, path := range map[string]string{
		"plain":   "/library/sections/12/all?type=1",
		"escaped": "/library/sections/a%20b",
		"unicode": "/library/%C3%BCber",
		"worst":   strings.Repeat("//a/../%2e%2e", maxPathLength/13),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.DemandOf(path)
			}
		})
	}
}
