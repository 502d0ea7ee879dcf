package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPanelsAreReadWhole(t *testing.T) {
	c, err := loadText(`public_url: https://auth.example.com
panels:
  - url: HTTPS://Panel.Example.com:443/
    name: Grafana größe
    upstream: http://127.0.0.1:8082
    require: two_factor
    max_age: 8h
    groups: [ops, größe-2.b_c]
    rules:
      - path: /status/
        require: nothing
      - {path: /api/, require: session, preflight: true}
      - path: /admin/
        require: session
        max_age: 1m
        groups:
          - admins
      - {path: /, require: two_factor}
  - url: https://logs.example.org:8443
  - url: http://127.0.0.1:3000
    upstream: ""
    rules: []
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Panel{
		{
			URL: Origin{"https", "panel.example.com"}, Name: "Grafana größe", Upstream: Upstream{"http", "127.0.0.1:8082"},
			Require: RequireTwoFactor, MaxAge: Duration(8 * time.Hour), Groups: []string{"ops", "größe-2.b_c"},
			Rules: []Rule{
				{Path: "/status/", Require: RequireNothing},
				{Path: "/api/", Require: RequireSession, Preflight: true},
				{Path: "/admin/", Require: RequireSession, MaxAge: Duration(time.Minute), Groups: []string{"admins"}},
				{Path: "/", Require: RequireTwoFactor},
			},
		},
		{URL: Origin{"https", "logs.example.org:8443"}, Require: RequireSession},
		{URL: Origin{"http", "127.0.0.1:3000"}, Require: RequireSession},
	}
	if diff := cmp.Diff(want, c.Panels); diff != "" {
		t.Errorf("panels (-want +got):\n%s", diff)
	}
}

func TestPanelOnThePortalsHost(t *testing.T) {
	panel := Panel{URL: Origin{"https", "panel.example.com"}, Upstream: Upstream{"http", "127.0.0.1:8082"}, Require: RequireSession}
	const place = "public_url: https://panel.example.com\n"
	for text, environ := range map[string][]string{
		place + "shared_host: true\npanels:\n  - {url: 'https://panel.example.com', upstream: 'http://127.0.0.1:8082'}\n": nil,
		place + "upstream: http://127.0.0.1:8082\n": nil,
		place: {"SALLYPORT_UPSTREAM=http://127.0.0.1:8082"},
	} {
		c, err := loadText(text, environ...)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff([]Panel{panel}, c.Panels); diff != "" || !c.SharedHost || c.PortalURL() != "https://panel.example.com/.sallyport" {
			t.Errorf("%sthe portal is at %s, shared %v, panels (-want +got):\n%s", text, c.PortalURL(), c.SharedHost, diff)
		}
	}
	if c, err := loadText(place); err != nil || c.PortalURL() != "https://panel.example.com" {
		t.Errorf("alone the portal is at %s, %v; want the panel's URL", c.PortalURL(), err)
	}
}

func TestExamplesOfPanelsAreConfigurations(t *testing.T) {
	inReadme := firstExample(t, "../../README.md", "## Put it in front of a panel")
	inManual := firstExample(t, "../../docs/configuration.md", "## Panels")
	_, inDefault, _ := strings.Cut(DefaultYAML(), "An example:\n#\n")
	inDefault, _, _ = strings.Cut(inDefault, "\npanels: []")
	inDefault = strings.ReplaceAll("\n"+inDefault, "\n# ", "\n")
	for _, example := range []struct {
		name, text string
		rules      int // at least
	}{
		{"README.md", inReadme, 0},
		{"docs/configuration.md", inManual, 2},
		{"default.yaml", "public_url: https://auth.example.com" + inDefault, 2},
	} {
		c, err := loadText(example.text)
		if err != nil || len(c.Panels) != 1 || c.Panels[0].Require != RequireTwoFactor || len(c.Panels[0].Rules) < example.rules {
			t.Errorf("the example in %s loads as %+v, %v; want one panel with two factors and its rules", example.name, c.Panels, err)
		}
	}
}

// firstExample returns the first block of YAML below a heading of a document.
func firstExample(t *testing.T, path, heading string) string {
	t.Helper()
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(document), "\n"+heading+"\n")
	_, text, _ = strings.Cut(text, "```yaml\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatalf("%s has no example below %q", path, heading)
	}
	return text
}

func TestEveryFaultOfPanelsIsReportedAtOnce(t *testing.T) {
	_, err := loadText(`public_url: https://auth.example.com
url: https://panel.example.com
panels:
  - url: https://panel.example.com/app
    upstream: 127.0.0.1:8082
    require: password
    max_age: 30s
    max_age: soon
    groups:
      - ops
      - a b
      - ops
    rule: []
    rules:
      - path: status
        require: everything
      - path: /x/
        require: nothing
        groups: [ops]
        max_age: 1h
        url: x
      - /y/
      - require: [session]
      - path: 5
        require: session
        max_age: 59s
  - upstream: http://name:hunter2@127.0.0.1:8082
    path: /z/
  - https://panel.example.com
  - url: https://auth.example.com:8443
    listen: :1
    rules: {path: /}
`, "SALLYPORT_PANELS=https://panel.example.com", "SALLYPORT_PANELS_0_URL=x")
	want := `sallyport.yaml:2: url: unknown key; url belongs below mail: or panels: or webhook:
sallyport.yaml:4: panels[0].url: "https://panel.example.com/app" has a path, and neither a portal nor a panel can be under one; give it a host name of its own
sallyport.yaml:5: panels[0].upstream: "127.0.0.1:8082" must be http:// or https://, a host, a port if needed, and nothing else; write it like http://127.0.0.1:8082
sallyport.yaml:6: panels[0].require: "password" isn't one of nothing, session, two_factor
sallyport.yaml:8: panels[0].max_age: is set twice; the first is in line 7
sallyport.yaml:8: panels[0].max_age: "soon" isn't a duration; write it like 12h or 7d
sallyport.yaml:11: panels[0].groups: "a b" isn't a group name; use 1 to 64 letters, digits and . - _
sallyport.yaml:12: panels[0].groups: "ops" is listed twice; delete one
sallyport.yaml:13: panels[0].rule: unknown key; did you mean rules?
sallyport.yaml:15: panels[0].rules[0].path: "status" doesn't begin with /
sallyport.yaml:16: panels[0].rules[0].require: "everything" isn't one of nothing, session, two_factor
sallyport.yaml:19: panels[0].rules[1].groups: has no effect beside require: nothing; delete the line, or write session there
sallyport.yaml:20: panels[0].rules[1].max_age: has no effect beside require: nothing; delete the line, or write session there
sallyport.yaml:21: panels[0].rules[1].url: unknown key; the keys here are groups, max_age, path, preflight, require
sallyport.yaml:22: panels[0].rules[2]: needs keys below it: groups, max_age, path, preflight, require
sallyport.yaml:23: panels[0].rules[3].require: is a list, not text; put it in quotes
sallyport.yaml:23: panels[0].rules[3]: path must be set, such as /status/
sallyport.yaml:24: panels[0].rules[4].path: is a number, not text; put it in quotes
sallyport.yaml:26: panels[0].rules[4].max_age: 59s is shorter than a minute
sallyport.yaml:27: panels[1].upstream: must not contain a user name or password; write it like http://127.0.0.1:8082
sallyport.yaml:27: panels[1]: url must be set, such as https://panel.example.com; if this line belongs to the panel above, remove its dash
sallyport.yaml:28: panels[1].path: unknown key; path belongs below rules:
sallyport.yaml:29: panels[2]: needs keys below it: answer_within, forget_at_sign_out, groups, icon, identity_encoding, max_age, name, require, rules, upstream, upstream_ca, upstream_fingerprint, upstream_name, url, websockets
sallyport.yaml:30: panels[3].url: https://auth.example.com:8443 has the host name of public_url (https://auth.example.com), and cookies ignore ports and schemes, so each would get the other's; give it a host name of its own
sallyport.yaml:31: panels[3].listen: unknown key; the keys here are answer_within, forget_at_sign_out, groups, icon, identity_encoding, max_age, name, require, rules, upstream, upstream_ca, upstream_fingerprint, upstream_name, url, websockets
sallyport.yaml:32: panels[3].rules: is a group of keys; write a list of groups of keys, each after a dash, or [] for none
environment: SALLYPORT_PANELS: can't be set by a variable, since it is a list of groups of keys; write it in the file
environment: SALLYPORT_PANELS_0_URL: can't be set by a variable, since it is a list of groups of keys; write it in the file`
	if err == nil {
		t.Fatal("no fault")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestFaultsOfPanels(t *testing.T) {
	const (
		shared = ", and cookies ignore ports and schemes, so each would get the other's; give it a host name of its own"
		places = "public_url: https://auth.example.com\npanels:\n"
	)
	var many strings.Builder
	for i := range mostPanels + 1 {
		fmt.Fprintf(&many, "  - url: https://panel%d.example.com\n", i)
	}
	tests := []struct {
		name, text string
		want       string // beginning of the only fault
	}{
		{"no list", "panels:\n", "sallyport.yaml:1: panels: is empty; write a list of groups of keys, each after a dash, or [] for none"},
		{"empty item", "panels:\n  -\n", "sallyport.yaml:2: panels[0]: needs keys below it: answer_within, "},
		{"list in a list", "panels: [[]]\n", "sallyport.yaml:1: panels[0]: needs keys below it: answer_within, "},
		{"nothing in an item", "panels: [{}]\n", "sallyport.yaml:1: panels[0]: url must be set"},
		{"set twice", "panels: []\npanels: []\n", "sallyport.yaml:2: panels: is set twice; the first is in line 1"},
		{"alias", places + "  - &a\n    url: https://panel.example.com\n  - *a\n", "sallyport.yaml:5: panels[1]: anchors and aliases aren't supported"},
		{"merge key", places + "  - url: https://panel.example.com\n    <<: {}\n", "sallyport.yaml:4: this isn't a key; write lines such as key: value"},
		{"dotted key", places + "  - url: https://panel.example.com\n    rules.path: /\n", "sallyport.yaml:4: panels[0].rules.path: unknown key; path belongs below rules:"},
		{"key of the whole", places + "  - url: https://panel.example.com\n    panels: []\n", "sallyport.yaml:4: panels[0].panels: unknown key; the keys here are answer_within, forget_at_sign_out, groups, icon, identity_encoding, max_age, name, require, rules, upstream, upstream_ca, upstream_fingerprint, upstream_name, url, websockets"},
		{"too many panels", places + many.String(), "sallyport.yaml:2: panels: has 65 items; at most 64 are allowed"},

		{"empty name", places + "  - url: https://a.example.com\n    name: ''\n", "sallyport.yaml:4: panels[0].name: must be 1 to 40 characters, not 0"},
		{"long name", places + "  - url: https://a.example.com\n    name: " + strings.Repeat("ä", 41) + "\n", "sallyport.yaml:4: panels[0].name: must be 1 to 40 characters, not 41"},
		{"name with an invisible character", places + "  - url: https://a.example.com\n    name: \"a\\u200bb\"\n", `sallyport.yaml:4: panels[0].name: "a\u200bb" contains characters that can't be printed; remove them`},
		{"name with a space around", places + "  - url: https://a.example.com\n    name: 'Wiki '\n", `sallyport.yaml:4: panels[0].name: "Wiki " begins or ends with a space; remove it`},
		{"name twice", places + "  - {url: https://a.example.com, name: Wiki}\n  - url: https://b.example.com\n    name: wiki\n", `sallyport.yaml:5: panels[1].name: "wiki" is the name of panels[0] too; choose another one`},
		{"name of a later panel's host", places + "  - url: https://a.example.com\n    name: B.example.com\n  - url: https://b.example.com\n", `sallyport.yaml:4: panels[0].name: "B.example.com" is the host of panels[1]; choose another name`},
		{"name of a host without its port", places + "  - url: https://a.example.com:8443\n  - url: https://b.example.com\n    name: a.example.com\n", `sallyport.yaml:5: panels[1].name: "a.example.com" is the host of panels[0]; choose another name`},

		{"empty url", places + "  - url: ''\n", "sallyport.yaml:3: panels[0].url: url must be set, such as https://panel.example.com"},
		{"the portal's origin", places + "  - url: https://auth.example.com\n", "sallyport.yaml:3: panels[0].url: https://auth.example.com is the same as public_url, so they would share all cookies; give it a host name of its own"},
		{"the portal's host, other port", places + "  - url: https://auth.example.com:8443\n", "sallyport.yaml:3: panels[0].url: https://auth.example.com:8443 has the host name of public_url (https://auth.example.com)" + shared},
		{"the portal's host, other scheme", places + "  - url: http://auth.example.com\n", "sallyport.yaml:3: panels[0].url: http://auth.example.com has the host name of public_url (https://auth.example.com)" + shared},
		{"the host that listen gives", "panels:\n  - url: http://127.0.0.1:3000\n", "sallyport.yaml:2: panels[0].url: http://127.0.0.1:3000 has the host name of public_url (http://127.0.0.1:9091)" + shared},
		{"IPv6 host, other port", "public_url: http://[::1]\npanels:\n  - url: http://[0:0::1]:3000\n", "sallyport.yaml:3: panels[0].url: http://[::1]:3000 has the host name of public_url (http://[::1])" + shared},
		{"an origin twice", places + "  - url: https://a.example.com\n  - url: https://A.example.com:443\n", "sallyport.yaml:4: panels[1].url: https://a.example.com is the same as panels[0].url"},
		{"a host twice", places + "  - url: https://a.example.com:8443\n  - url: https://b.example.com\n  - url: https://a.example.com\n", "sallyport.yaml:5: panels[2].url: https://a.example.com has the host name of panels[0].url (https://a.example.com:8443)" + shared},
		{"a host with both schemes", places + "  - url: http://localhost\n  - url: https://localhost\n", "sallyport.yaml:4: panels[1].url: https://localhost has the host name of panels[0].url (http://localhost)" + shared},
		{"https behind http", "public_url: http://auth.lan\npanels:\n  - url: https://panel.example.com\n", "sallyport.yaml:3: panels[0].url: https://panel.example.com is https, but public_url (http://auth.lan) isn't"},
		{"https behind what listen gives", "panels:\n  - url: https://panel.example.com\n", "sallyport.yaml:2: panels[0].url: https://panel.example.com is https, but public_url (http://127.0.0.1:9091) isn't"},
		{"http behind https", places + "  - url: http://panel.example.com\n", "sallyport.yaml:3: panels[0].url: http://panel.example.com is http, but public_url is https"},

		{"upstream with a path", places + "  - {url: 'https://panel.example.com', upstream: 'http://127.0.0.1:8082/app'}\n", `sallyport.yaml:3: panels[0].upstream: "http://127.0.0.1:8082/app" must be http:// or https://, a host`},
		{"upstream is the panel", places + "  - {url: 'https://panel.example.com', upstream: 'https://panel.example.com:443'}\n", "sallyport.yaml:3: panels[0].upstream: https://panel.example.com is the panel's url, where the gate answers"},
		{"upstream is the portal", places + "  - {url: 'https://panel.example.com', upstream: 'https://auth.example.com'}\n", "sallyport.yaml:3: panels[0].upstream: https://auth.example.com is the portal itself"},
		{"upstream is where the portal listens", places + "  - {url: 'https://panel.example.com', upstream: 'http://localhost:9091'}\n", "sallyport.yaml:3: panels[0].upstream: http://localhost:9091 is the portal itself"},

		{"shared host, no panel", "shared_host: true\n", "sallyport.yaml:1: shared_host: is for a single panel, but 0 are declared; give the portal a host name of its own in public_url"},
		{"shared host, two panels", "shared_host: true\n" + places + "  - url: https://a.example.com\n  - url: https://b.example.com\n", "sallyport.yaml:1: shared_host: is for a single panel, but 2 are declared"},
		{"shared host, other host", "shared_host: true\n" + places + "  - {url: 'https://panel.example.com', upstream: 'http://127.0.0.1:8082'}\n", "sallyport.yaml:4: panels[0].url: https://panel.example.com isn't public_url (https://auth.example.com)"},
		{"shared host, another proxy", "shared_host: true\n" + places + "  - url: https://auth.example.com\n", "sallyport.yaml:4: panels[0]: upstream must be set with shared_host: only our own gateway keeps the portal's cookies from the panel"},
		{"upstream beside panels", "upstream: http://127.0.0.1:8082\n" + places + "  - url: https://panel.example.com\n", "sallyport.yaml:1: upstream: declares one panel on the portal's host"},
		{"short upstream is the portal", "upstream: http://localhost:9091\n", "sallyport.yaml:1: upstream: http://localhost:9091 is the portal itself"},

		{"open panel", places + "  - {url: 'https://panel.example.com', require: nothing}\n", "sallyport.yaml:3: panels[0].require: with nothing the whole panel would be open; write session or two_factor"},
		{"empty require", places + "  - {url: 'https://panel.example.com', require: ''}\n", `sallyport.yaml:3: panels[0].require: "" isn't one of`},
		{"no age at all", places + "  - {url: 'https://panel.example.com', max_age: 0s}\n", "sallyport.yaml:3: panels[0].max_age: 0s is shorter than a minute"},
		{"no groups", places + "  - {url: 'https://panel.example.com', groups: []}\n", "sallyport.yaml:3: panels[0].groups: names no group; name at least one, or delete the line"},
		{"one group as text", places + "  - {url: 'https://panel.example.com', groups: ops}\n", "sallyport.yaml:3: panels[0].groups: is text; write a list: [a, b], or [] for none"},
		{"group with a comma", places + "  - {url: 'https://panel.example.com', groups: ['a,b']}\n", `sallyport.yaml:3: panels[0].groups: "a,b" isn't a group name`},
		{"empty group", places + "  - {url: 'https://panel.example.com', groups: ['']}\n", `sallyport.yaml:3: panels[0].groups: "" isn't a group name`},
		{"long group", places + "  - {url: 'https://panel.example.com', groups: [" + strings.Repeat("ä", 65) + "]}\n", `sallyport.yaml:3: panels[0].groups: "` + strings.Repeat("ä", 30) + `"… isn't a group name`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := loadText(test.text)
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("loads as %+v, %v; want one fault", c, err)
			}
			if got := err.Error(); !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestFaultsOfRules(t *testing.T) {
	rule := func(path string) string { return fmt.Sprintf("      - {path: %q, require: session}\n", path) }
	var many strings.Builder
	for i := range mostRules + 1 {
		many.WriteString(rule(fmt.Sprintf("/%d", i)))
	}
	tests := []struct {
		name, rules string
		want        string // beginning of the only fault; "" for a text without a fault
	}{
		{"all signs", rule("/Az09/-._~!$&'()+,=:@/...a/.b/"), ""},
		{"folder and file", rule("/a") + rule("/a/"), ""},
		{"inner before outer", rule("/a/b/") + rule("/a/") + rule("/"), ""},
		{"same letters, other segment", rule("/a/") + rule("/ab/") + rule("/A/"), ""},
		{"beside the gate", rule("/.sallyport-x/") + rule("/x/.sallyport/"), ""},

		{"no path", "      - require: session\n", "5: panels[0].rules[0]: path must be set, such as /status/"},
		{"empty path", rule(""), "5: panels[0].rules[0].path: path must be set, such as /status/"},
		{"no require", "      - path: /a/\n", "5: panels[0].rules[0]: require must be set: nothing, session or two_factor"},
		{"relative", rule("a/"), `5: panels[0].rules[0].path: "a/" doesn't begin with /`},
		{"whole address", rule("https://panel.example.com/a/"), `5: panels[0].rules[0].path: "https://panel.example.com/a/" doesn't begin with /`},
		{"pattern", rule("/a/*"), `5: panels[0].rules[0].path: "/a/*" has a *, which isn't a wildcard here`},
		{"query", rule("/a?b"), `5: panels[0].rules[0].path: "/a?b" has a query or fragment`},
		{"fragment", rule("/a#b"), `5: panels[0].rules[0].path: "/a#b" has a query or fragment`},
		{"percent sign", rule("/%61"), `5: panels[0].rules[0].path: "/%61" contains characters that panels read in more than one way`},
		{"backslash", rule(`/a\b`), `5: panels[0].rules[0].path: "/a\\b" contains characters`},
		{"semicolon", rule("/a;b"), `5: panels[0].rules[0].path: "/a;b" contains characters`},
		{"zero byte", rule("/a\x00"), `5: panels[0].rules[0].path: "/a\x00" contains characters`},
		{"line end", rule("/a\nb"), `5: panels[0].rules[0].path: "/a\nb" contains characters`},
		{"space", rule("/a b"), `5: panels[0].rules[0].path: "/a b" contains characters`},
		{"beyond ASCII", rule("/ä/"), `5: panels[0].rules[0].path: "/ä/" contains characters`},
		{"doubled slash", rule("/a//b"), `5: panels[0].rules[0].path: "/a//b" has a double slash`},
		{"two slashes", rule("//"), `5: panels[0].rules[0].path: "//" has a double slash`},
		{"dot", rule("/a/."), `5: panels[0].rules[0].path: "/a/." has the segment ., which panels resolve`},
		{"two dots", rule("/a/../b"), `5: panels[0].rules[0].path: "/a/../b" has the segment ..`},
		{"the gate's own", rule("/.sallyport/"), `5: panels[0].rules[0].path: "/.sallyport/" belongs to the gate, which applies no rules there; delete the rule`},
		{"the gate's own, below", rule("/.Sallyport/start"), `5: panels[0].rules[0].path: "/.Sallyport/start" belongs to the gate`},
		{"the gate's own, without a slash", rule("/.sallyport"), `5: panels[0].rules[0].path: "/.sallyport" belongs to the gate`},
		{"twice", rule("/a") + rule("/b") + rule("/a"), `7: panels[0].rules[2].path: "/a" is the path of rules[0] too; keep one`},
		{"covered", rule("/x") + rule("/a/") + rule("/a/b"), `7: panels[0].rules[2].path: "/a/b" never applies, since rules[1] ("/a/") comes first; move it before that rule`},
		{"covered by all", rule("/") + rule("/a"), `6: panels[0].rules[1].path: "/a" never applies, since rules[0] ("/") comes first`},
		{"too many", many.String(), "4: panels[0].rules: has 101 items; at most 100 are allowed"},
		{"nothing with groups", "      - {path: /a, require: nothing, groups: []}\n", "5: panels[0].rules[0].groups: has no effect beside require: nothing"},
		{"nothing with an age", "      - {path: /a, require: nothing, max_age: 0s}\n", "5: panels[0].rules[0].max_age: has no effect beside require: nothing"},
		{"nothing with preflights", "      - {path: /a, require: nothing, preflight: true}\n", "5: panels[0].rules[0].preflight: has no effect beside require: nothing"},
		{"preflight of a word", "      - {path: /a, require: session, preflight: always}\n", "5: panels[0].rules[0].preflight: is text, not true or false"},
		{"no groups", "      - {path: /a, require: session, groups: []}\n", "5: panels[0].rules[0].groups: names no group"},
		{"group twice", "      - {path: /a, require: session, groups: [b, a, b]}\n", `5: panels[0].rules[0].groups: "b" is listed twice; delete one`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := loadText("public_url: https://auth.example.com\npanels:\n  - url: https://panel.example.com\n    rules:\n" + test.rules)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("loads as %+v, %v; want one fault", c, err)
			}
			if got := err.Error(); !strings.HasPrefix(got, "sallyport.yaml:"+test.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestUpstreamMayNotBeWhereThePortalListens(t *testing.T) {
	for _, test := range []struct {
		listen, upstream string
		want             bool // the portal itself
	}{
		{"127.0.0.1:9091", "http://127.0.0.1:9091", true},
		{"127.0.0.1:9091", "https://127.0.0.1:9091", true},
		{"127.0.0.1:9091", "http://localhost:9091", true},
		{"127.0.0.1:80", "http://127.0.0.1", true},
		{"127.0.0.1:443", "https://127.0.0.1", true},
		{"localhost:9091", "http://127.0.0.1:9091", true},
		{"localhost:9091", "http://[::1]:9091", true},
		{"[::1]:9091", "http://[::1]:9091", true},
		{"[::ffff:127.0.0.1]:9091", "http://127.0.0.1:9091", true},
		{":9091", "http://127.0.0.1:9091", true},
		{":9091", "http://[::1]:9091", true},
		{"0.0.0.0:9091", "http://localhost:9091", true},
		{"[::]:9091", "http://127.0.0.2:9091", true},
		{"NAS.lan:9091", "http://nas.lan:9091", true},
		{"192.168.1.10:9091", "http://192.168.1.10:9091", true},

		{"127.0.0.1:9091", "http://127.0.0.1:8082", false},
		{"127.0.0.1:9091", "http://127.0.0.2:9091", false},
		{"127.0.0.1:9091", "http://127.0.0.1", false},
		{"127.0.0.1:9091", "http://192.168.1.10:9091", false},
		{"192.168.1.10:9091", "http://127.0.0.1:9091", false},
		{":9091", "http://panel.lan:9091", false},
	} {
		_, err := loadText(fmt.Sprintf("listen: %q\npublic_url: https://auth.example.com\npanels:\n  - {url: 'https://panel.example.com', upstream: %q}\n", test.listen, test.upstream))
		if got := err != nil && strings.Contains(err.Error(), "is the portal itself"); got != test.want || (err != nil) != test.want {
			t.Errorf("listen %s, upstream %s: %v", test.listen, test.upstream, err)
		}
	}
}

func TestFaultyPortalHidesNoFaultOfItsPanels(t *testing.T) {
	_, err := loadText("public_url: auth\npanels:\n  - {url: 'https://a.example.com', max_age: 1s}\n  - {url: 'https://a.example.com'}\n")
	want := []string{"sallyport.yaml:1: public_url", "sallyport.yaml:3: panels[0].max_age", "sallyport.yaml:4: panels[1].url"}
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != len(want) {
		t.Fatalf("got %v, want faults at %q", err, want)
	}
	for i, fault := range faults {
		if !strings.HasPrefix(fault.String(), want[i]+":") {
			t.Errorf("got %s, want it at %s", fault, want[i])
		}
	}
}

func TestAPanelsNameMayBeItsOwnHost(t *testing.T) {
	if _, err := loadText("public_url: https://auth.example.com\npanels: [{url: https://a.example.com, name: a.example.com}, {url: https://b.example.com}]\n"); err != nil {
		t.Error(err)
	}
}
