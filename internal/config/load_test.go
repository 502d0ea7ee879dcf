package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	_, err := loadText(`public_url: https://example.com/auth
listen: localhost
data_dir: ""
database: mysql://sallyport:hunter2@db/sallyport
site_name: 42
site_nam: Portal
session:
  idle: 12 hours
  absolute: 7d
  idle: 8d
password: 15
two_factor:
  enroll: nobody
  min_length: 12
trusted_proxies:
  - 127.0.0.1
  - 0.0.0.0/0
  - 10.0.0.5/8
log_level:
---
listen: :1
`, "SALLYPORT_PASSWORD_MIN_LENGTH=7", "SALLYPORT_PASSWORD_MEMORY_KIB=lots", "SALLYPORT_TRUSTED_PROXIES=10.0.0.1, gw",
		"SALLYPORT_LISTN=:1", "SALLYPORT_COLOUR=red", "HOME=/root")
	want := `sallyport.yaml:1: public_url: "https://example.com/auth" has a path, and neither a portal nor a panel can be under one; give it a host name of its own
sallyport.yaml:2: listen: "localhost" isn't an address and port; write it like 127.0.0.1:9091
sallyport.yaml:3: data_dir: must name a directory
sallyport.yaml:4: database: must be a postgres:// or postgresql:// URL, or empty for the SQLite file in data_dir
sallyport.yaml:5: site_name: is a number, not text; put it in quotes
sallyport.yaml:6: site_nam: unknown key; did you mean site_name?
sallyport.yaml:8: session.idle: "12 hours" isn't a duration; write it like 12h or 7d
sallyport.yaml:10: session.idle: is set twice; the first is in line 8
sallyport.yaml:11: password: needs keys below it: iterations, memory_kib, min_length
sallyport.yaml:13: two_factor.enroll: "nobody" isn't one of anyone, ticket
sallyport.yaml:14: two_factor.min_length: unknown key; min_length belongs below password:
sallyport.yaml:17: trusted_proxies: "0.0.0.0/0" trusts every address, so anybody could forge the headers that proxies add; name only your proxies
sallyport.yaml:18: trusted_proxies: "10.0.0.5/8" has bits set beyond its prefix length; write 10.0.0.0/8, or only 10.0.0.5
sallyport.yaml:19: log_level: has no value; give it one or delete the line
sallyport.yaml:20: a second document begins here; keep only one, without ---
environment: SALLYPORT_COLOUR: unknown variable
environment: SALLYPORT_LISTN: unknown variable; did you mean SALLYPORT_LISTEN?
environment: SALLYPORT_PASSWORD_MEMORY_KIB: "lots" isn't a whole number; write digits only
environment: SALLYPORT_PASSWORD_MIN_LENGTH: 7 is outside 8 to 64
environment: SALLYPORT_TRUSTED_PROXIES: "gw" isn't an address or prefix; write it like 192.0.2.7 or 192.0.2.0/24`
	if err == nil {
		t.Fatal("no fault")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error is a %T, want Faults", err)
	}
	first := faults[0]
	if first.Source != "sallyport.yaml" || first.Line != 1 || first.Key != "public_url" {
		t.Errorf("first fault: %#v, want public_url in line 1 of sallyport.yaml", first)
	}
}

// recipient is a public key of age.
const recipient = "age126hhdt63fmsttx7tqg6prlklp9fkgs2jdh9kpxmfpmcddt3zpa0qra7pc4"

func TestFaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // beginning of the only fault
	}{
		{"broken YAML", "listen: :1\n  x: [\n", "sallyport.yaml:2: isn't YAML: "},
		{"broken YAML in the first line", "listen: a: b", "sallyport.yaml:1: isn't YAML: mapping values"},
		{"not a mapping", "- listen\n", "sallyport.yaml:1: the file must consist of lines such as key: value"},
		{"lone text", "listen\n", "sallyport.yaml:1: the file must consist of lines such as key: value"},
		{"dotted key", "session.idle: 1h\n", "sallyport.yaml:1: session.idle: unknown key; idle belongs below session:"},
		{"case of a key", "Listen: :1\n", "sallyport.yaml:1: Listen: unknown key; did you mean listen?"},
		{"value without a key", "'postgres://a:hunter2@b': x\n", "sallyport.yaml:1: this isn't a key; write lines such as key: value"},
		{"merge key", "<<: {}\n", "sallyport.yaml:1: this isn't a key; write lines such as key: value"},
		{"group set twice", "session: {idle: 1h}\nsession: {}\n", "sallyport.yaml:2: session: is set twice; the first is in line 1"},
		{"empty group", "session:\n", "sallyport.yaml:1: session: needs keys below it: absolute, idle"},
		{"alias", "site_name: &a x\ndata_dir: *a\n", "sallyport.yaml:2: data_dir: anchors and aliases aren't supported"},
		{"the fault doesn't contain an unknown anchor", "database: *hunter2\n", "sallyport.yaml:1: isn't YAML: anchors and aliases aren't supported"},
		{"quoted number", "password: {min_length: '15'}\n", "sallyport.yaml:1: password.min_length: is text, not a whole number; write digits without quotes"},
		{"octal number", "password: {min_length: 017}\n", `sallyport.yaml:1: password.min_length: "017" isn't a whole number`},
		{"fraction", "password: {min_length: 15.5}\n", "sallyport.yaml:1: password.min_length: is a number, not a whole number"},
		{"list for text", "site_name: [a]\n", "sallyport.yaml:1: site_name: is a list, not text"},
		{"group for a duration", "session: {idle: {}}\n", "sallyport.yaml:1: session.idle: is a group of keys, not text"},
		{"text for a list", "trusted_proxies: 127.0.0.1\n", "sallyport.yaml:1: trusted_proxies: is text; write a list: [a, b], or [] for none"},
		{"list in a list", "trusted_proxies: [[127.0.0.1]]\n", "sallyport.yaml:1: trusted_proxies: is a list, not text"},
		{"binary text", "site_name: !!binary aGk=\n", "sallyport.yaml:1: site_name: is of a type that isn't used here"},
		{"number for a duration", "session: {idle: 12}\n", `sallyport.yaml:1: session.idle: "12" isn't a duration; write it like 12h or 7d`},

		{"idle after absolute", "session:\n  idle: 8d\n", "sallyport.yaml:2: session.idle: session.idle (8d) is longer than session.absolute (7d)"},
		{"absolute before idle", "session:\n  absolute: 1h\n", "sallyport.yaml:2: session.absolute: session.idle (12h) is longer than session.absolute (1h)"},
		{"events kept for minutes", "audit: {keep: 400m}\n", "sallyport.yaml:1: audit.keep: 6h40m is shorter than a day; write 0 to keep events for ever"},
		{"no idle at all", "session: {idle: 0s}\n", "sallyport.yaml:1: session.idle: 0s is shorter than a second"},
		{"short password", "password: {min_length: 7}\n", "sallyport.yaml:1: password.min_length: 7 is outside 8 to 64"},
		{"long password", "password: {min_length: 65}\n", "sallyport.yaml:1: password.min_length: 65 is outside 8 to 64"},
		{"little memory", "password: {memory_kib: 19455}\n", "sallyport.yaml:1: password.memory_kib: 19455 is outside 19456 to 1048576"},
		{"no iterations", "password: {iterations: 0}\n", "sallyport.yaml:1: password.iterations: 0 is outside 1 to 10"},
		{"empty site name", "site_name: ''\n", "sallyport.yaml:1: site_name: must be 1 to 40 characters, not 0"},
		{"long site name", "site_name: " + strings.Repeat("ä", 41) + "\n", "sallyport.yaml:1: site_name: must be 1 to 40 characters, not 41"},
		{"control character", `site_name: "a\nb"`, `sallyport.yaml:1: site_name: "a\nb" contains characters that can't be printed; remove them`},
		{"right-to-left override", `site_name: "a\u202eb"`, `sallyport.yaml:1: site_name: "a\u202eb" contains characters that can't be printed; remove them`},
		{"blank site name", "site_name: ' '\n", `sallyport.yaml:1: site_name: " " begins or ends with a space; remove it`},
		{"contact that is a name", "operator_contact: Ada\n", `sallyport.yaml:1: operator_contact: "Ada" is neither an email address nor a URL; write it like help@example.com or https://chat.example.com/help`},
		{"contact with a display name", "operator_contact: Ada <ada@example.com>\n", `sallyport.yaml:1: operator_contact: "Ada <ada@example.com>" is neither an email address`},
		{"contact that is a script", "operator_contact: javascript:alert(1)\n", `sallyport.yaml:1: operator_contact: "javascript:alert(1)" is neither an email address`},
		{"contact without a host", "operator_contact: https:///help\n", `sallyport.yaml:1: operator_contact: "https:///help" is neither an email address`},
		{"contact with a mark of direction", `operator_contact: "https://example.com/\u202e"`, `sallyport.yaml:1: operator_contact: "https://example.com/\u202e" is neither an email address`},
		{"contact with a password", "operator_contact: https://a:hunter2@example.com/\n", "sallyport.yaml:1: operator_contact: must not contain a user name or password"},
		{"long contact", "operator_contact: https://example.com/" + strings.Repeat("x", 250) + "\n", "sallyport.yaml:1: operator_contact: has 270 bytes; at most 254 are allowed"},
		{"port 0", "listen: 127.0.0.1:0\n", `sallyport.yaml:1: listen: "127.0.0.1:0" needs a port from 1 to 65535`},
		{"metrics at no address", "metrics_listen: localhost\n", `sallyport.yaml:1: metrics_listen: "localhost" isn't an address and port`},
		{"a drain longer than service managers wait", "drain: 1h\n", "sallyport.yaml:1: drain: 1h is longer than a minute; write 1m or less, since service managers kill a server that takes longer to stop"},
		{"a pooler without PostgreSQL", "pooler: true\n", "sallyport.yaml:1: pooler: is for PostgreSQL only; set database too"},
		{"a direct URL without a pooler", "database: postgres://db/a\ndatabase_direct: postgres://db/a\n", "sallyport.yaml:2: database_direct: is the URL past a pooler; set pooler: true too"},
		{"metrics at the portal's address", "metrics_listen: 127.0.0.1:9091\n", "sallyport.yaml:1: metrics_listen: is the portal's own address; choose another port"},
		{"key ring at a path", "key_ring: /etc/ring\n", `sallyport.yaml:1: key_ring: "/etc/ring" isn't credential:NAME; for the file keyring in data_dir write ""`},
		{"credential without a name", "key_ring: 'credential:'\n", `sallyport.yaml:1: key_ring: "" isn't the name of a systemd credential`},
		{"credential elsewhere", "key_ring: credential:../ring\n", `sallyport.yaml:1: key_ring: "../ring" isn't the name of a systemd credential`},
		{"command on the search path", "key_ring_command: [vault, read]\n", `sallyport.yaml:1: key_ring_command: "vault" isn't the absolute path of a program`},
		{"command as a line", "key_ring_command: /bin/cat ring\n", "sallyport.yaml:1: key_ring_command: is text; write a list: [a, b], or [] for none"},
		{"command with a NUL", `key_ring_command: [/bin/cat, "a\0"]`, "sallyport.yaml:1: key_ring_command: contains a character that arguments can't contain; remove it"},
		{"two sources of the key ring", "key_ring: credential:ring\nkey_ring_command: [/bin/cat]\n", "sallyport.yaml:2: key_ring_command: names one source of the key ring, and key_ring another; keep one"},
		{"recipient that is none", "backup:\n  recipients:\n  - age1abc\n", `sallyport.yaml:3: backup.recipients: "age1abc" isn't an age public key (age1…), such as "age-keygen" prints`},
		{"recipient that is secret", "backup: {recipients: [AGE-SECRET-KEY-1HUNTER2hunter2]}\n", "sallyport.yaml:1: backup.recipients: is an age secret key; write its public key"},
		{"two recipients in one", "backup: {recipients: [\"" + recipient + `\n` + recipient + "\"]}\n", "sallyport.yaml:1: backup.recipients: \"age1"},
		{"port by name", "listen: 127.0.0.1:http\n", `sallyport.yaml:1: listen: "127.0.0.1:http" needs a port from 1 to 65535`},
		{"address no browser can use", "listen: '[fe80::1%eth0]:9091'\n", "sallyport.yaml:1: listen: must be set, since browsers can't use the address in listen"},
		{"database that is no URL", "database: 'postgres://a:hunter2%@b'\n", "sallyport.yaml:1: database: isn't a URL; percent-encode"},
		{"database in key=value form", "database: host=db password=hunter2\n", "sallyport.yaml:1: database: must be a postgres:// or postgresql:// URL"},
		{"long values are shortened", "session: {idle: " + strings.Repeat("ü", 100) + "}\n", `sallyport.yaml:1: session.idle: "` + strings.Repeat("ü", 30) + `"… isn't a duration`},
		{"password in public_url", "public_url: https://a:hunter2@b\n", "sallyport.yaml:1: public_url: must not contain a user name or password"},
		{"password in broken public_url", "public_url: https://a:hunter2%@b\n", "sallyport.yaml:1: public_url: must not contain a user name or password"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := loadText(test.text)
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("loads as %+v, %v; want one fault", c, err)
			}
			if got := err.Error(); !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") || strings.Contains(got, "hunter2") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if !reflect.DeepEqual(c, Config{}) {
				t.Errorf("a faulty configuration was returned: %+v, want none", c)
			}
		})
	}
}

func TestEnvironmentOverridesTheFile(t *testing.T) {
	got, err := loadText("listen: :1\nsession: {idle: 1h}\ntrusted_proxies: [10.0.0.1]\nsite_name: File\n",
		"SALLYPORT_LISTEN=127.0.0.1:2", "SALLYPORT_SESSION_ABSOLUTE=1d", "SALLYPORT_TRUSTED_PROXIES=10.0.0.2, ::1",
		"SALLYPORT_DATABASE=postgresql:///sallyport", "SALLYPORT_PASSWORD_MIN_LENGTH=8", "SALLYPORT_TWO_FACTOR_ENROLL=ticket",
		"SALLYPORT_LOG_LEVEL=debug", "SALLYPORT_LISTEN=127.0.0.1:3", "SALLYPORT_CONFIG=x", "SALLYPORT_TEST_POSTGRES=y", "SALLYPORTABLE=z")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.PublicURL.Host = "127.0.0.1:3"
	want.Listen = "127.0.0.1:3"
	want.Session.Idle = Duration(time.Hour)
	want.Session.Absolute = Duration(24 * time.Hour)
	for _, text := range []string{"10.0.0.2", "::1"} {
		prefix, _ := parsePrefix(text)
		want.TrustedProxies = append(want.TrustedProxies, prefix)
	}
	want.Database = NewSecret("postgresql:///sallyport")
	want.SiteName = "File"
	want.Password.MinLength = 8
	want.TwoFactor.Enroll = EnrollTicket
	want.LogLevel = LogDebug
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	got, err = loadText("trusted_proxies: [10.0.0.1]\ndatabase: postgres://db/x\n", "SALLYPORT_TRUSTED_PROXIES=", "SALLYPORT_DATABASE=")
	if err != nil || got.TrustedProxies != nil || got.Database.Reveal() != "" {
		t.Errorf("empty variables: %+v, %v; want empty values and no fault", got, err)
	}
	if _, err = loadText("", "SALLYPORT_DATABASE=hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("faulty secret: %v, want a fault that doesn't show it", err)
	}
}

// Kubernetes sets the variables in links for Services with names such as sallyport and
// sallyport-metrics.
func TestVariablesOfKubernetesServicesAreIgnored(t *testing.T) {
	links := []string{
		"SALLYPORT_SERVICE_HOST=10.96.0.7", "SALLYPORT_SERVICE_PORT=9091", "SALLYPORT_SERVICE_PORT_HTTP=9091",
		"SALLYPORT_PORT=tcp://10.96.0.7:9091", "SALLYPORT_PORT_9091_TCP=tcp://10.96.0.7:9091", "SALLYPORT_PORT_9091_TCP_PROTO=tcp",
		"SALLYPORT_PORT_9091_TCP_PORT=9091", "SALLYPORT_PORT_9091_TCP_ADDR=10.96.0.7",
		"SALLYPORT_SERVICE_SERVICE_HOST=10.96.0.7", "SALLYPORT_SERVICE_SERVICE_PORT=9091", "SALLYPORT_SERVICE_SERVICE_PORT_HTTP=9091",
		"SALLYPORT_SERVICE_PORT=tcp://10.96.0.7:9091", "SALLYPORT_SERVICE_PORT_9091_TCP=tcp://10.96.0.7:9091", "SALLYPORT_SERVICE_PORT_9091_TCP_ADDR=10.96.0.7",
		"SALLYPORT_METRICS_SERVICE_HOST=fd00::7", "SALLYPORT_METRICS_SERVICE_PORT=9092", "SALLYPORT_METRICS_PORT=udp://[fd00::7]:9092",
		"SALLYPORT_METRICS_PORT_9092_UDP=udp://[fd00::7]:9092", "SALLYPORT_METRICS_PORT_9092_UDP_ADDR=fd00::7",
	}
	if _, err := loadText("", links...); err != nil {
		t.Errorf("%v, want no fault", err)
	}
	for _, other := range []string{
		"SALLYPORT_PORT=9091", "SALLYPORT_PORT=", "SALLYPORT_PORT=http://10.96.0.7:9091", "SALLYPORT_PORT=tcp://sallyport:9091",
		"SALLYPORT_SERVICE_HOST=sallyport", "SALLYPORT_SERVICE_PORT=0", "SALLYPORT_SERVICE_PORTS=80", "SALLYPORT_SERVICE=10.96.0.7",
		"SALLYPORT_PORT_TCP=tcp://10.96.0.7:9091", "SALLYPORT_PORT_9091_TCP=9091", "SALLYPORT_PORT_9091_TCP_NAME=10.96.0.7",
		"SALLYPORT_LISTEN_PORT=9091", "SALLYPORT_SITENAME=x",
	} {
		if _, err := loadText("", append(links, other)...); err == nil || !strings.Contains(err.Error(), "unknown variable") {
			t.Errorf("%s: %v, want a fault for the unknown variable", other, err)
		}
	}
}

func TestPasswordInAFileThatOthersMayReadIsRefused(t *testing.T) {
	for _, test := range []struct {
		mode  fs.FileMode
		text  string
		fault bool
	}{
		{0o600, "postgres://a:hunter2@db/x", false},
		{0o400, "postgres://a:hunter2@db/x", false},
		{0o640, "postgres://a:hunter2@db/x", true},
		{0o604, "postgres://a:hunter2@db/x", true},
		{0o620, "postgres://a:hunter2@db/x", true},
		{0o644, "postgres://db/x?user=a&password=hunter2", true},
		{0o644, "postgres://a@db/x", false},
		{0o644, "postgres:///x?host=/run/db", false},
		{0o644, "''", false},
	} {
		path := filepath.Join(t.TempDir(), "sallyport.yaml")
		if err := os.WriteFile(path, []byte("site_name: x\ndatabase: "+test.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil { // WriteFile applies the umask
			t.Fatal(err)
		}
		_, err := Load(path, nil)
		want := ""
		if test.fault {
			want = path + ":2: database: contains a password, and others on this machine may read the file; run: chmod 600 " + path
		}
		if got := ""; err != nil {
			got = err.Error()
			if got != want {
				t.Errorf("%v %s: %s", test.mode, test.text, got)
			}
		} else if want != got {
			t.Errorf("%v %s: no fault", test.mode, test.text)
		}
	}
}

func TestUnreadableFileIsAFault(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("#\n"), maxFile), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing.yaml"): "no such file or directory",
		dir:                                "is a directory; name the file, such as " + filepath.Join(dir, "sallyport.yaml"),
		big:                                "is larger than 1048576 bytes, so it can't be a configuration; name the right file",
	} {
		_, err := Load(path, nil)
		if err == nil || err.Error() != path+": "+want {
			t.Errorf("got %v, want %s: %s", err, path, want)
		}
	}
}

func TestSwitchesAreTrueOrFalse(t *testing.T) {
	var c struct {
		On bool `yaml:"on"`
	}
	on := schemaOf(reflect.ValueOf(&c).Elem(), "").field["on"]
	for text, want := range map[string]bool{"true": true, "false": false} {
		if err := assignScalar(on, &yaml.Node{Kind: yaml.ScalarNode, Value: text}); err != nil || c.On != want {
			t.Errorf("%s is read as %v, %v; want it accepted", text, c.On, err)
		}
	}
	for _, text := range []string{"yes", "1", "True", "~"} {
		if err := assignScalar(on, &yaml.Node{Kind: yaml.ScalarNode, Value: text}); err == nil {
			t.Errorf("%s is read as %v, want a fault", text, c.On)
		}
	}
}

// FuzzLoad checks that Load never panics, that each fault is one line with a source, and
// that a configuration that loads can be printed and loads from that text with the same
// values.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(DefaultYAML()), "")
	f.Add([]byte("public_url: HTTPS://Example.com:443/\nsession: {idle: 1h}\n"), "SALLYPORT_SESSION_ABSOLUTE=1d2h\nSALLYPORT_LISTEN=[::1]:1")
	f.Add([]byte("trusted_proxies: [10.0.0.1, '::1', 10.0.0.5/8]\n---\nx: &a *a\n"), "SALLYPORT_TRUSTED_PROXIES=10.0.0.0/8,::")
	f.Add([]byte("backup: {recipients: ["+recipient+"]}\n"), "SALLYPORT_BACKUP_EVERY=1h")
	f.Add([]byte("key_ring: credential:ring\n"), "CREDENTIALS_DIRECTORY=/run/credentials/x")
	f.Add([]byte("key_ring_command: [/bin/cat, \"a b\", '7']\n"), "SALLYPORT_KEY_RING=")
	f.Add([]byte("database: postgres://a:b@c/d?e=f\nsite_name: \"\\u00fc \\0\"\n"), "SALLYPORT_X=1")
	f.Add([]byte("{? [a]: b, <<: *c, 1: !!str 2, password: {min_length: 0x10}}"), "SALLYPORT_DATABASE=postgresql:///x")
	f.Add([]byte("public_url: https://a.example\npanels:\n  - url: https://b.example\n    upstream: http://[::1]:1\n    require: two_factor\n    max_age: 1h1s\n    groups: ['1', 'on']\n    rules: [{path: /a/, require: nothing}, {path: /, require: session, groups: [b], max_age: 1m}]\n"), "")
	f.Add([]byte("panels: [{}, [], x, {url: , rules: [{}, 1, {path: a}], <<: {}}]\npanels: {}\n"), "SALLYPORT_PANELS=[]")
	f.Add([]byte("- %TAG ! x\n...\n\t|\n >-"), "=")
	f.Fuzz(func(t *testing.T, text []byte, env string) {
		c, _, err := load(file{"sallyport.yaml", text, 0o600}, strings.Split(env, "\n"))
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("error is %#v", err)
			}
			for _, fault := range faults {
				if fault.Source == "" || fault.Text == "" || strings.Contains(fault.String(), "\n") {
					t.Errorf("bad fault %#v", fault)
				}
			}
			return
		}
		printed, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		// The text hides the database's URL, so set that by its variable.
		reloaded, _, err := load(file{"printed.yaml", printed, 0o600}, []string{"SALLYPORT_DATABASE=" + c.Database.Reveal(), "CREDENTIALS_DIRECTORY=" + c.KeyRing.Directory})
		if err != nil {
			t.Fatalf("the printed configuration doesn't load: %v\n%s", err, printed)
		}
		if !reflect.DeepEqual(c, reloaded) {
			t.Errorf("loaded   %+v\nreloaded %+v", c, reloaded)
		}
	})
}
