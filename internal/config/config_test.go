package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// loadText loads text as sallyport.yaml, readable by its owner only.
func loadText(text string, environ ...string) (Config, error) {
	c, _, err := load(file{"sallyport.yaml", []byte(text), 0o600}, environ)
	return c, err
}

func TestDefaultYAMLIsEveryKeyWithItsDefault(t *testing.T) {
	got, err := loadText(DefaultYAML())
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("default.yaml loads as\n%+v, want\n%+v", got, want)
	}

	var keys []string
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			if key, value := prefix+n.Content[i].Value, n.Content[i+1]; value.Kind == yaml.MappingNode {
				walk(key+".", value)
			} else {
				keys = append(keys, key)
			}
		}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(DefaultYAML()), &doc); err != nil {
		t.Fatal(err)
	}
	walk("", doc.Content[0])
	var want []string
	for key := range schemaOf(reflect.ValueOf(&Config{}).Elem(), "").field {
		want = append(want, key)
	}
	slices.Sort(keys)
	slices.Sort(want)
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-Config +default.yaml):\n%s", diff)
	}
}

func TestAnEmptyFileGivesTheDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "{}\n"} {
		got, err := loadText(text)
		if want := Default(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q loads as %+v, %v; want the default", text, got, err)
		}
	}
	if got, err := Load("", nil); err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("no file loads as %+v, %v; want the default", got, err)
	}
}

func TestEachKeyHasItsOwnVariable(t *testing.T) {
	names := map[string]string{}
	for key := range schemaOf(reflect.ValueOf(&Config{}).Elem(), "").field {
		if other, taken := names[variableName(key)]; taken {
			t.Errorf("%s and %s have the same variable %s", key, other, variableName(key))
		}
		names[variableName(key)] = key
	}
	if names["SALLYPORT_SESSION_IDLE"] != "session.idle" {
		t.Errorf("variables: %v, want SALLYPORT_SESSION_IDLE for session.idle", names)
	}
}

func TestPublicURLFollowsListen(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:9091":    "http://127.0.0.1:9091",
		":8080":             "http://127.0.0.1:8080",
		"0.0.0.0:8080":      "http://127.0.0.1:8080",
		"'[::]:8080'":       "http://127.0.0.1:8080",
		"'[::1]:8080'":      "http://[::1]:8080",
		"127.0.0.1:80":      "http://127.0.0.1",
		"Nas.example:8080":  "http://nas.example:8080",
		"192.168.1.10:8080": "http://192.168.1.10:8080",
	} {
		c, err := loadText("listen: " + listen)
		if err != nil || c.PublicURL.String() != want {
			t.Errorf("listen %s: public URL %q, %v; want %s", listen, c.PublicURL, err, want)
		}
	}
	c, err := loadText("listen: :8080\npublic_url: https://auth.example.com")
	if want := (Origin{"https", "auth.example.com"}); err != nil || c.PublicURL != want {
		t.Errorf("public_url is set: public URL %v, %v; want the one that is set", c.PublicURL, err)
	}
}

func TestDatabaseIsTheFileUnlessAURLIsSet(t *testing.T) {
	dir := t.TempDir()
	c := Default()
	c.DataDir = dir
	if got, want := c.DatabaseURL(), "sqlite:"+filepath.Join(dir, "sallyport.db"); got != want {
		t.Errorf("DatabaseURL() = %s, want %s", got, want)
	}
	if got, want := c.KeyRingPath(), filepath.Join(dir, "keyring"); got != want {
		t.Errorf("KeyRingPath() = %s, want %s", got, want)
	}
	for directory, want := range map[string]string{"/run/credentials/sallyport.service": "/run/credentials/sallyport.service/ring", "": ""} {
		with, err := loadText("key_ring: credential:ring", "CREDENTIALS_DIRECTORY="+directory)
		if got := with.KeyRingPath(); err != nil || got != want {
			t.Errorf("credential in %q: KeyRingPath() = %q, %v; want %q", directory, got, err, want)
		}
	}
	c.Database = NewSecret("postgres://db/sallyport")
	if got, want := c.DatabaseURL(), "postgres://db/sallyport"; got != want {
		t.Errorf("DatabaseURL() = %s, want %s", got, want)
	}

	t.Chdir(dir)
	c = Default()
	if got, want := c.DatabaseURL(), "sqlite:"+filepath.Join(dir, "sallyport-data", "sallyport.db"); got != want {
		t.Errorf("relative data_dir: DatabaseURL() = %s, want %s", got, want)
	}
}

func TestNoWayOfPrintingShowsThePassword(t *testing.T) {
	c := Default()
	c.Database = NewSecret("postgres://sallyport:hunter2@db/sallyport")
	hidden := struct{ config Config }{c} // fmt calls no methods on unexported fields

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+"\n", c, &c, hidden, c.Database)
	}
	fmt.Fprintln(&out, c, hidden, c.Database)
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("config", "config", c, "hidden", hidden, "database", c.Database)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asJSON)
	out.Write(asYAML)
	if text := out.String(); strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the password is printed:\n%s", text)
	}
	if c.Database.Reveal() != "postgres://sallyport:hunter2@db/sallyport" {
		t.Error("Reveal returns another text")
	}
	if text := fmt.Sprint(Secret{}); text != "" {
		t.Errorf("an empty secret prints as %q, want an empty text", text)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]string{
		"12h": "12h", "7d": "7d", "168h": "7d", "1d12h": "36h", "90m": "1h30m", "20s": "20s",
		"1h0m5s": "1h0m5s", "10m": "10m", "100h": "100h", "0d": "0s", "65535d": "65535d",
		"": "", "7": "", "d": "", "d5h": "", "1.5d": "", "-1h": "", "1d-1h": "", "+1h": "", "12 hours": "",
		"1d1d": "", "65536d": "", "65535d2000000h": "", "7D": "",
	} {
		var d Duration
		got := ""
		if err := d.UnmarshalText([]byte(text)); err == nil {
			got = d.String()
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

func TestOrigins(t *testing.T) {
	for text, want := range map[string]string{
		"https://auth.example.com":       "https://auth.example.com",
		"https://auth.example.com/":      "https://auth.example.com",
		"HTTPS://Auth.Example.COM:443":   "https://auth.example.com",
		"http://auth.example.com:80":     "http://auth.example.com",
		"http://auth.example.com:443":    "http://auth.example.com:443",
		"https://auth.example.com:08443": "https://auth.example.com:8443",
		"https://auth.example.com:":      "https://auth.example.com",
		"http://192.168.1.10:9091":       "http://192.168.1.10:9091",
		"http://[2001:DB8::0:1]:9091":    "http://[2001:db8::1]:9091",
		"https://xn--bcher-kva.example":  "https://xn--bcher-kva.example",

		"auth.example.com":                   "",
		"//auth.example.com":                 "",
		"ftp://auth.example.com":             "",
		"https:auth.example.com":             "",
		"https://":                           "",
		"https://:443":                       "",
		"https://auth.example.com/portal":    "",
		"https://auth.example.com//":         "",
		"https://auth.example.com?":          "",
		"https://auth.example.com?x=1":       "",
		"https://auth.example.com#":          "",
		"https://auth.example.com#x":         "",
		"https://name@auth.example.com":      "",
		"https://@auth.example.com":          "",
		"https://auth.example.com:0":         "",
		"https://auth.example.com:65536":     "",
		"https://auth.example.com:http":      "",
		"https://auth.example.com.":          "",
		"https://auth..example.com":          "",
		"https://-auth.example.com":          "",
		"https://bücher.example":             "",
		"https://auth.example.com\\@evil":    "",
		"https://auth example.com":           "",
		"https://auth.example.com\n":         "",
		"http://127.1":                       "",
		"http://0x7f000001":                  "",
		"http://2130706433":                  "",
		"http://0.0.0.0:9091":                "",
		"http://[::]:9091":                   "",
		"http://[fe80::1%25eth0]:9091":       "",
		"http://[::ffff:127.0.0.1]:9091":     "",
		"https://%61uth.example.com":         "",
		"https://a*.example.com":             "",
		"https://" + strings.Repeat("a", 64): "",
	} {
		o, err := ParseOrigin(text)
		if got := o.String(); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1": "127.0.0.1/32", "10.1.0.0/16": "10.1.0.0/16", "::1": "::1/128", "2001:db8::/32": "2001:db8::/32",
		"0.0.0.0/0": "", "::/0": "", "10.0.0.5/0": "", "10.0.0.5/8": "", "10.0.0.0/33": "", "fe80::1%eth0": "",
		"::ffff:10.0.0.0/104": "", "::ffff:10.0.0.1": "", "localhost": "", "": "", "10.0.0.0/08": "",
	} {
		prefix, err := parsePrefix(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is read as %s, want a fault", text, prefix)
			}
		} else if err != nil || prefix != netip.MustParsePrefix(want) {
			t.Errorf("%q is read as %s, %v; want %s", text, prefix, err, want)
		}
	}
}

func TestLogLevelIsSlogs(t *testing.T) {
	for level, want := range map[LogLevel]slog.Level{
		LogDebug: slog.LevelDebug, LogInfo: slog.LevelInfo, LogWarn: slog.LevelWarn, LogError: slog.LevelError, "": slog.LevelInfo,
	} {
		if got := level.Level(); got != want {
			t.Errorf("%q is %v, want %v", level, got, want)
		}
	}
}

// Complete adds the line of a key, or the line of its group if the key isn't set, or the
// name of the variable that set it.
func TestFaultsGetTheirPlaces(t *testing.T) {
	_, places, err := load(file{"sallyport.yaml", []byte("listen: 127.0.0.1:9091\npanels:\n  - url: http://a.test\n\nsession:\n  idle: 1h\n"), 0o600}, []string{"SALLYPORT_DATA_DIR=/x"})
	if err != nil {
		t.Fatal(err)
	}
	got := places.Complete(Faults{{Key: "data_dir", Text: "d"}, {Key: "panels[0].upstream", Text: "p"}, {Key: "session.idle", Text: "i"}, {Key: "database", Text: "n"}}).Error()
	want := "sallyport.yaml: database: n\nsallyport.yaml:3: panels[0].upstream: p\nsallyport.yaml:6: session.idle: i\nenvironment: SALLYPORT_DATA_DIR: d"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestChangedKeys(t *testing.T) {
	a, b := Default(), Default()
	b.Listen, b.Session.Idle, b.Panels, b.Database = ":1", Duration(1), []Panel{{Name: "x"}}, NewSecret("postgres://x@y/z")
	if diff := cmp.Diff([]string{"database", "listen", "panels", "session.idle"}, ChangedKeys(a, b)); diff != "" || len(ChangedKeys(a, Default())) > 0 {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
}
