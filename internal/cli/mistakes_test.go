package cli

import (
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/sallyport/sallyport/internal/testkit"
)

// mistake is a fault that an operator may write into the configuration. DIR in text stands
// for a folder with good.pem, good.key and other files; lines are counted from 1.
type mistake struct {
	name string
	text string
	line int    // the line of the fault, or 0 for a fault without a line
	key  string // the key in the message
	says string // a part of the message that says what to do
}

var mistakes = []mistake{
	// Mistakes that new operators made.
	{"a key that doesn't exist", "public_urll: https://auth.example.com\n", 1, "public_urll", "did you mean public_url?"},
	{"a path", "public_url: https://example.com/auth\n", 1, "public_url", "give it a host name of its own"},
	{"no scheme", "public_url: auth.example.com\n", 1, "public_url", "write it like https://auth.example.com"},
	{"every proxy is trusted", "trusted_proxies: [0.0.0.0/0]\n", 1, "trusted_proxies", "name only your proxies"},
	{"http panel under https portal", "public_url: https://auth.example.com\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: http://panel.example.com\n", 4, "panels[0].url", "write https"},
	{"upstream without scheme", "panels:\n  - url: http://panel.test\n    upstream: 127.0.0.1:8082\n", 3, "panels[0].upstream", "write it like http://127.0.0.1:8082"},
	{"upstream is the portal", "panels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:9091\n", 3, "panels[0].upstream", "name the panel's own server"},
	{"a requirement of another product", "panels:\n  - url: http://panel.test\n    require: 2fa\n", 3, "panels[0].require", "two_factor"},
	{"one host, two ports", "public_url: http://auth.test\npanels:\n  - url: http://auth.test:8080\n    upstream: http://127.0.0.1:1\n", 3, "panels[0].url", "give it a host name of its own"},
	{"a number as duration", "session:\n  idle: 30\n", 2, "session.idle", "write it like 12h or 7d"},
	{"words as duration", "session:\n  absolute: 1 week\n", 2, "session.absolute", "write it like 12h or 7d"},
	{"a key twice", "log_level: info\nsite_name: A\nlog_level: warn\n", 3, "log_level", "the first is in line 1"},
	{"a rule that can never apply", "panels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:1\n    rules:\n      - path: /a/\n        require: session\n      - path: /a/b/\n        require: nothing\n", 7, "panels[0].rules[1].path", "move it before that rule"},
	{"text in place of a list", "panels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:1\n    groups: ops\n", 4, "panels[0].groups", "write a list: [a, b]"},
	{"panels as a map", "panels:\n  wiki:\n    url: http://wiki.test\n", 1, "panels", "each after a dash"},
	{"ACME without terms", "tls:\n  acme:\n    email: ada@example.com\n", 3, "tls.acme.email", "write true there"},
	{"no certificate file", pair("DIR/none.pem", "DIR/good.key"), 4, "tls.certificates[0].cert", "write the path of a PEM file"},
	{"no pair", pair("DIR/good.pem", "DIR/other.key"), 4, "tls.certificates[0].cert", "the key that it was made for"},
	{"a key that others may read", pair("DIR/good.pem", "DIR/open.key"), 5, "tls.certificates[0].key", "run: chmod 600"},
	{"a certificate for another host", pair("DIR/other.pem", "DIR/other.key"), 3, "tls.certificates", "add a pair that is"},
	{"a tab", "session:\n\tidle: 12h\n", 2, "", "is indented by a tab"},

	// Similar mistakes.
	{"a tab below a list", "panels:\n  - url: http://panel.test\n\t  upstream: http://127.0.0.1:1\n", 3, "", "write spaces in its place"},
	{"a panel without upstream and proxy", "site_name: A\npanels:\n  - url: http://panel.test\n", 3, "panels[0].upstream", "trusted_proxies: [127.0.0.1]"},
	{"one panel without upstream among others", "panels:\n  - url: http://a.test\n    upstream: http://127.0.0.1:1\n  - url: http://b.test\n", 4, "panels[1].upstream", "upstream: http://127.0.0.1:8082"},
	{"no certificate of the CA", "panels:\n  - url: http://panel.test\n    upstream: https://127.0.0.1:1\n    upstream_ca: DIR/none.pem\n", 4, "panels[0].upstream_ca", "write the path of a PEM file"},
	{"a key in place of the CA", "panels:\n  - url: http://panel.test\n    upstream: https://127.0.0.1:1\n    upstream_ca: DIR/good.key\n", 4, "panels[0].upstream_ca", "-----BEGIN CERTIFICATE-----"},
	{"a folder as certificate", pair("DIR", "DIR/good.key"), 4, "tls.certificates[0].cert", "make the file readable by the user that runs Sallyport"},
	{"certificate and key swapped", pair("DIR/good.key", "DIR/good.pem"), 5, "tls.certificates[0].key", "run: chmod 600"},
	{"an expired certificate", pair("DIR/old.pem", "DIR/old.key"), 3, "tls.certificates", "renew it"},
	{"half a pair", "public_url: https://auth.test\ntls:\n  certificates:\n    - cert: DIR/good.pem\n", 4, "tls.certificates[0]", "a pair has cert and key"},
	{"TLS and plain http", "public_url: http://auth.test\ntls:\n  certificates:\n    - cert: DIR/good.pem\n      key: DIR/good.key\n", 1, "public_url", "must begin with https://"},
	{"ACME for an address", "public_url: https://192.0.2.1\ntls:\n  acme:\n    accept_terms: true\n", 1, "public_url", "use a public host name"},
	{"a port alone", "listen: 9091\n", 1, "listen", "127.0.0.1:9091"},
	{"a URL to listen at", "listen: http://127.0.0.1:9091\n", 1, "listen", "127.0.0.1:9091"},
	{"a name as proxy", "trusted_proxies: [nginx]\n", 1, "trusted_proxies", "write it like 192.0.2.7 or 192.0.2.0/24"},
	{"a query in a rule", "panels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:1\n    rules:\n      - path: /a?b=c\n        require: nothing\n", 5, "panels[0].rules[0].path", "leave it out"},
	{"a star in a rule", "panels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:1\n    rules:\n      - path: /static/*\n        require: nothing\n", 5, "panels[0].rules[0].path", "a path that ends in / covers everything below it"},
	{"a rule without requirement", "panels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:1\n    rules:\n      - path: /static/\n", 5, "panels[0].rules[0]", "nothing, session or two_factor"},
	{"a password of MySQL", "database: mysql://sallyport@db/sallyport\n", 1, "database", "postgres://"},
	{"a key ring by its path", "key_ring: /etc/sallyport/keyring\n", 1, "key_ring", "credential:NAME"},
	{"a command of the shell", "key_ring_command: [cat, /etc/keyring]\n", 1, "key_ring_command", "absolute"},
	{"yes in place of true", "shared_host: yes\n", 1, "shared_host", "true or false"},
	{"a group of keys in one line", "session: 12h\n", 1, "session", "needs keys below it: absolute, idle"},
	{"a key of a group at the top", "idle: 12h\n", 1, "idle", "belongs below session:"},
	{"the end of a quote is missing", "site_name: \"Radio\nlisten: 127.0.0.1:9091\n", 0, "", "close the quote that begins here or above"},
	{"the end of a later quote is missing", "listen: 127.0.0.1:9091\nsite_name: \"Radio\nlog_level: info\n", 2, "", "close the quote that begins here or above"},
	{"the panel's host is the portal's", "public_url: http://auth.test\nupstream: http://127.0.0.1:1\npanels:\n  - url: http://panel.test\n    upstream: http://127.0.0.1:2\n", 2, "upstream", "shared_host: true"},
	{"a path of the shell", "data_dir: ~/sallyport\n", 1, "data_dir", "write the whole path"},
	{"a variable of the shell", "backup:\n  dir: $HOME/backups\n", 2, "backup.dir", "write the whole path"},
	{"a certificate in the home folder", pair("~/auth.pem", "DIR/good.key"), 4, "tls.certificates[0].cert", "~ and $ aren't expanded"},
	{"all hosts of a domain", "panels:\n  - url: https://*.example.com\n", 2, "panels[0].url", "write each host in an entry of its own"},
	{"a colon in a name", "site_name: Radio: Harbour\n", 1, "", "in quotes"},
	{"a name that begins with a sign of YAML", "site_name: @home\n", 1, "", "in quotes"},
	{"no space after a colon", "listen:127.0.0.1:9091\nsite_name: A\n", 1, "listen", "needs a space after the colon"},
	{"no space after a panel's colon", "panels:\n  - url:http://panel.test\n    upstream: http://127.0.0.1:1\n", 2, "url", "needs a space after the colon"},
	{"a URL before a dash in another column", "trusted_proxies:\n  - http://a\n- b\n", 2, "", "isn't YAML: did not find expected key; begin all keys of a group, and all dashes of a list, in the same column"},
	{"words after a quote", "site_name: \"Radio\" Harbour\n", 1, "", "if a value goes on after its closing quote"},
	{"an apostrophe in quotes of its kind", "site_name: 'Ada's panel'\n", 1, "", "put the whole value in quotes of the other kind"},
	{"no space after the only colon", "listen:127.0.0.1:9091\n", 1, "", "with a space after the colon"},
	{"a key that is indented less than its group", "panels:\n  - url: http://panel.test\n   upstream: http://127.0.0.1:1\n", 0, "", "in the same column"},
	{"an open bracket", "trusted_proxies: [127.0.0.1, 10.0.0.0/8\nsite_name: A\n", 0, "", "close the bracket"},
	{"a dash before a panel's second key", "panels:\n  - url: http://panel.test\n  - upstream: http://127.0.0.1:1\n", 3, "panels[1]", "remove its dash"},
	{"another product's keys", "panels:\n  - url: http://panel.test\n    target: http://127.0.0.1:1\n", 3, "panels[0].target", "the keys here are "},
	{"no file with the mail server's password", mailSettings("DIR/none.txt"), 3, "mail.password_file", "write the path of a file that contains the password"},
	{"a password that others may read", mailSettings("DIR/good.pem"), 3, "mail.password_file", "run: chmod 600"},
	{"an empty password", mailSettings("DIR/empty.txt"), 3, "mail.password_file", "write the password of the mail server's user into it"},
	{"a folder as password", mailSettings("DIR"), 3, "mail.password_file", "name the file that contains the password"},
	{"a key as password", mailSettings("DIR/good.key"), 3, "mail.password_file", "write only the password into it"},
	{"no CA of the mail server", "mail:\n  url: smtps://mail.test\n  ca: DIR/none.pem\n  from: a@mail.test\n", 3, "mail.ca", "write the path of a PEM file"},
	{"no file with the webhook's secret", webhookSettings("DIR/none.txt"), 3, "webhook.secret_file", "write the path of a file that contains the secret"},
	{"a secret that others may read", webhookSettings("DIR/good.pem"), 3, "webhook.secret_file", "run: chmod 600"},
	{"no secret", webhookSettings("DIR/empty.txt"), 3, "webhook.secret_file", "contains no secret; write a line such as the output of: echo"},
	{"a key as secret", webhookSettings("DIR/good.key"), 3, "webhook.secret_file", "line 1 doesn't begin with whsec_; write a line such as"},
	{"no CA of the receiver", "webhook:\n  url: https://hooks.test\n  ca: DIR/none.pem\n  secret_file: DIR/empty.txt\n", 3, "webhook.ca", "write the path of a PEM file"},
	{"a key as CA of the receiver", "webhook:\n  url: https://hooks.test\n  ca: DIR/good.key\n  secret_file: DIR/empty.txt\n", 3, "webhook.ca", "-----BEGIN CERTIFICATE-----"},
	{"an event that doesn't exist", webhookSettings("DIR/empty.txt") + "  events:\n    - new_browser\n    - password\n", 6, "webhook.events[1]", "write some of two_factor_enabled, "},
	{"a webhook in a private network", "webhook:\n  url: https://10.0.0.1/hook\n  secret_file: DIR/empty.txt\n", 2, "webhook.url", "name its network in webhook.networks"},
	{"a webhook without TLS", "webhook:\n  url: http://hooks.test/hook\n  secret_file: DIR/empty.txt\n", 2, "webhook.url", "write https://"},
	{"a key as CA of the mail server", "mail:\n  url: smtps://mail.test\n  ca: DIR/good.key\n  from: a@mail.test\n", 3, "mail.ca", "-----BEGIN CERTIFICATE-----"},
	{"a mail server's password in its URL", "mail:\n  url: smtps://a:hunter2@mail.test\n", 2, "mail.url", "name that file in mail.password_file"},
	{"a mail server without scheme", "mail:\n  url: mail.test\n", 2, "mail.url", "write it like smtps://user@mail.example.com:465"},
	{"a backup every minute", "backup:\n  every: 1m\n", 2, "backup.every", "write 0s for no backups"},
}

func mailSettings(passwordFile string) string {
	return "mail:\n  url: smtps://a@mail.test\n  password_file: " + passwordFile + "\n  from: a@mail.test\n"
}

func webhookSettings(secretFile string) string {
	return "webhook:\n  url: https://hooks.test/hook\n  secret_file: " + secretFile + "\n"
}

func pair(cert, key string) string {
	return "public_url: https://auth.test\ntls:\n  certificates:\n    - cert: " + cert + "\n      key: " + key + "\n"
}

// The message on each mistake names file, line and key, and says what to write. The exit code
// is the one after which service managers don't restart the server.
func TestMessagesOnMistakesSayWhatToWrite(t *testing.T) {
	dir := t.TempDir()
	ca := testkit.NewCA(t)
	now := time.Now()
	ca.IssueFor(dir, "good", now.Add(-time.Hour), now.Add(90*24*time.Hour), "auth.test")
	ca.IssueFor(dir, "other", now.Add(-time.Hour), now.Add(90*24*time.Hour), "other.test")
	ca.IssueFor(dir, "open", now.Add(-time.Hour), now.Add(90*24*time.Hour), "auth.test")
	ca.IssueFor(dir, "old", now.Add(-90*24*time.Hour), now.Add(-24*time.Hour), "auth.test")
	must(t, os.Chmod(dir+"/open.key", 0o644))
	must(t, os.Chmod(dir+"/good.pem", 0o644))
	must(t, os.WriteFile(dir+"/empty.txt", []byte("\n"), 0o600))
	file := filepath.Join(dir, "sallyport.yaml")
	for _, m := range mistakes {
		must(t, os.WriteFile(file, []byte(strings.ReplaceAll(m.text, "DIR", dir)), 0o600))
		code, out, errs := call(nil, "", "config", "check", "--config", file)
		prefix := file + ":"
		if m.line > 0 {
			prefix += fmt.Sprint(m.line) + ": "
		}
		if m.key != "" {
			prefix += m.key + ": "
		}
		found := false
		for line := range strings.Lines(errs) {
			found = found || strings.HasPrefix(line, prefix) && strings.Contains(line, m.says)
		}
		if !found || code != exitUsage || out != "" {
			t.Errorf("%s: exit code %d, want %s…%s, got\n%s", m.name, code, prefix, m.says, errs)
		}
	}
}

func TestMessagesOnMistakesInVariablesSayWhatToWrite(t *testing.T) {
	for variable, want := range map[string]string{
		"SALLYPORT_PUBLIC_URL='http://auth.test'":               "has quotes around it, which no shell removed: delete them",
		`SALLYPORT_DATABASE="postgres://db/x"`:                  "has quotes around it, which no shell removed: delete them",
		`SALLYPORT_DATA_DIR="/d"`:                               "has quotes around it, which no shell removed, and there is no ",
		`SALLYPORT_SITE_NAME='` + strings.Repeat("n", 40) + "'": "has quotes around it, which no shell removed: delete them",
		"SALLYPORT_TRUSTED_PROXIES=127.0.0.1 10.0.0.0/8":        "separate several by commas",
		"SALLYPORT_TRUSTED_PROXIES='127.0.0.1,10.0.0.0/8'":      "delete them",
	} {
		name, _, _ := strings.Cut(variable, "=")
		code, out, errs := call([]string{variable}, "", "config", "check")
		if !strings.HasPrefix(errs, "environment: "+name+": ") || !strings.Contains(errs, want) || code != exitUsage || out != "" {
			t.Errorf("%s: exit code %d, want %s, got\n%s", variable, code, want, errs)
		}
	}
	if code, _, errs := call(nil, "", "config", "check", "--config", t.TempDir()); !strings.Contains(errs, "is a directory; name the file") || code != exitUsage {
		t.Errorf("a directory: exit code %d, want 2, got\n%s", code, errs)
	}
}

// A path that an earlier version accepted goes on working, since the portal's data may be at that
// path. config check and serve print a warning.
func TestValuesThatLookLikeAShellsGoOnWorking(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, made := range []string{"~/sallyport", "$HOME/b", `"/d"`, "${x}"} {
		must(t, os.MkdirAll(made, 0o700))
	}
	absolute := filepath.Join(dir, "${x}")
	for _, test := range []struct{ variable, warning string }{
		{"SALLYPORT_DATA_DIR=~/sallyport", `"~/sallyport" is the notation of a shell, which isn't expanded here, so it is ` + dir + "/~/sallyport; write ./~/sallyport to keep it, or move it"},
		{"SALLYPORT_DATA_DIR=" + absolute, " is the notation of a shell, which isn't expanded here, so it is " + absolute + "; move it to a path without $"},
		{`SALLYPORT_DATA_DIR="/d"`, `"\"/d\"" has quotes around it, which no shell removed, so it is ` + dir + `/"/d"; write ./"/d" to keep it, or move it`},
		{"SALLYPORT_DATA_DIR=./~/sallyport", ""},
		{"SALLYPORT_DATA_DIR=./${x}", ""},
		{"SALLYPORT_DATA_DIR=./${new}", ""},
		{"SALLYPORT_BACKUP_DIR=$HOME/b", `"$HOME/b" is the notation of a shell, which isn't expanded here, so it is ` + dir + "/$HOME/b; write ./$HOME/b to keep it, or move it"},
		{`SALLYPORT_SITE_NAME="Radio"`, `"\"Radio\"" has quotes around it, which no shell removed, so pages show them; delete them`},
		{"SALLYPORT_SITE_NAME='n' Roll 'n'", ""},
	} {
		name, _, _ := strings.Cut(test.variable, "=")
		code, out, errs := call([]string{test.variable}, "", "config", "check")
		right := errs == ""
		if test.warning != "" {
			right = strings.HasPrefix(errs, "Warning: environment: "+name+": ") && strings.HasSuffix(errs, test.warning+"\n") && strings.Count(errs, "\n") == 1
		}
		if code != 0 || out == "" || !right {
			t.Errorf("%s: exit code %d, got\n%swant\n%s", test.variable, code, errs, test.warning)
		}
	}
}

// If a portal exists, a backup.dir that doesn't exist yet gives a warning instead of a fault. A
// portal exists if its database is in data_dir or on PostgreSQL. A data_dir that doesn't exist
// gives a warning only if the portal has no files there: its database is on PostgreSQL, and its
// key ring is elsewhere.
func TestOnlyAFirstStartRefusesAFolderThatDoesNotExist(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.MkdirAll("data", 0o700))
	check := func(want int, environ ...string) {
		t.Helper()
		if code, _, errs := call(environ, "", "config", "check"); code != want || errs == "" {
			t.Errorf("%s: exit code %d, want %d, got\n%s", environ, code, want, errs)
		}
	}
	check(exitUsage, "SALLYPORT_DATA_DIR=data", "SALLYPORT_BACKUP_DIR=~/b")
	must(t, os.WriteFile("data/sallyport.db", nil, 0o600))
	check(0, "SALLYPORT_DATA_DIR=data", "SALLYPORT_BACKUP_DIR=~/b")
	check(0, "SALLYPORT_DATA_DIR=data", "SALLYPORT_DATABASE=postgres://db/x", "SALLYPORT_BACKUP_DIR=~/b")
	check(exitUsage, "SALLYPORT_DATA_DIR=~/d", "SALLYPORT_DATABASE=postgres://db/x")
	check(0, "SALLYPORT_DATA_DIR=~/d", "SALLYPORT_DATABASE=postgres://db/x", "SALLYPORT_KEY_RING=credential:ring")
	check(exitUsage, "SALLYPORT_DATA_DIR=~/d", "SALLYPORT_KEY_RING=credential:ring")
}

// Some mistakes are found only when the server starts: in the data directory, the key ring, the
// database or the address. The messages on them say what to do too.
func TestMessagesOnMistakesThatTheStartFindsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	must(t, os.WriteFile(filepath.Join(dir, "afile"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "open"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "open", "keyring"), nil, 0o644))
	must(t, os.Chmod(filepath.Join(dir, "open", "keyring"), 0o644))
	postgres, err := url.Parse(testkit.DatabaseURL(t, "postgres"))
	must(t, err)
	withName := func(user *url.Userinfo, database string) string {
		named := *postgres
		named.Path = "/" + database
		if user != nil {
			named.User = user
		}
		return named.String()
	}
	role := fmt.Sprintf("sallyport_test_%d", time.Now().UnixNano())
	admin, err := sql.Open("pgx", postgres.String())
	must(t, err)
	defer admin.Close()
	_, err = admin.Exec("CREATE ROLE " + role + " LOGIN")
	must(t, err)
	defer admin.Exec("DROP ROLE " + role)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	for name, test := range map[string]struct {
		text string
		line int
		key  string
		says string
		code int
	}{
		"data_dir below a file":           {"listen: 127.0.0.1:1\ndata_dir: DIR/afile/data\n", 2, "data_dir", "chown -R sallyport DIR/afile/data", exitUsage},
		"a key ring that others may read": {"site_name: A\ndata_dir: DIR/open\n", 2, "data_dir", "run: chmod 600 DIR/open/keyring", exitUsage},
		"no such credential":              {"key_ring: credential:ring\ndata_dir: DIR/data\n", 1, "key_ring", "LoadCredential=ring:FILE", exitUsage},
		"no such command":                 {"data_dir: DIR/data\nkey_ring_command: [DIR/none]\n", 2, "key_ring_command", "write the absolute path of a program", exitUsage},
		"no such database":                {"site_name: A\ndatabase: " + withName(nil, "nosuchdatabase") + "\n", 2, "database", "createdb --owner=sallyport sallyport", exitUsage},
		"no such role":                    {"database: " + withName(url.User("nosuchrole"), "postgres") + "\n", 1, "database", "createuser --pwprompt sallyport", exitUsage},
		"no right to make tables":         {"database: " + withName(url.User(role), strings.TrimPrefix(postgres.Path, "/")) + "\n", 1, "database", "createdb --owner=sallyport sallyport", exitUsage},
		"an address of another machine":   {"data_dir: DIR/data\nlisten: 192.0.2.77:9091\n", 2, "listen", "ip address", exitUsage},
		"a port in use":                   {"data_dir: DIR/data\nlisten: " + listener.Addr().String() + "\n", 0, "", "ss -ltnp", exitFailed},
	} {
		must(t, os.WriteFile(file, []byte(strings.ReplaceAll(test.text, "DIR", dir)), 0o600))
		code, _, errs := call(nil, "", "serve", "--config", file)
		prefix := ""
		if test.key != "" {
			prefix = fmt.Sprintf("%s:%d: %s: ", file, test.line, test.key)
		}
		found := false
		for line := range strings.Lines(errs) {
			found = found || strings.HasPrefix(line, prefix) && strings.Contains(line, strings.ReplaceAll(test.says, "DIR", dir))
		}
		if !found || code != test.code {
			t.Errorf("%s: exit code %d, want %s…%s, got\n%s", name, code, prefix, test.says, errs)
		}
	}
}

// A configuration with which every request will be refused has no fault, but config check
// prints a warning.
func TestCheckWarnsIfEveryRequestWillBeRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	for text, warned := range map[string]bool{
		"site_name: A\npublic_url: https://auth.test\n":                              true,
		"public_url: https://auth.test\ntrusted_proxies: [127.0.0.1]\n":              false,
		"public_url: http://auth.test\n":                                             false,
		"public_url: https://auth.test.example\ntls: {acme: {accept_terms: true}}\n": false,
	} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		code, out, errs := call(nil, "", "config", "check", "--config", file)
		want := ""
		if warned {
			want = "Warning: " + file + ":2: public_url: https://auth.test is https, but neither tls nor trusted_proxies is set, so every request will be refused: name your proxy in trusted_proxies, or set tls\n"
		}
		if code != 0 || out == "" || errs != want {
			t.Errorf("%q: exit code %d, want 0, got\n%s%s", text, code, out, errs)
		}
	}
}
