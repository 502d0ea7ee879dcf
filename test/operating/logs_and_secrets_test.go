package operating

// Forged log lines, secrets in logs and databases, and configurations that are refused.

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

// checkLog fails the test unless every line of the log is a JSON object of limited length without
// control characters. It returns the number of lines.
func checkLog(t *testing.T, p *portal.Portal) int {
	t.Helper()
	text := p.Logs.String()
	if !strings.HasSuffix(text, "\n") {
		t.Errorf("the log doesn't end with a line break")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("line %.200q isn't JSON: %v", line, err)
			continue
		}
		if event["time"] == nil || event["level"] == nil || event["msg"] == nil {
			t.Errorf("line without time, level or msg: %.200q", line)
		}
		if len(line) > 2048 {
			t.Errorf("line of %d bytes, want at most 2048: %.200q", len(line), line)
		}
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("line with characters that can't be printed: %.200q", line)
		}
		for key, value := range event {
			if s, ok := value.(string); ok && (len(s) > 512 || strings.ContainsFunc(s, unicode.IsControl)) {
				t.Errorf("value of %s has %d bytes, want at most 512 without control characters: %.200q", key, len(s), s)
			}
		}
	}
	return len(lines)
}

func TestAttack158LogInjection(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		host := strings.TrimPrefix(p.Base, "http://")
		hostile := []string{
			"a\r\nb", "a\nb", `{"level":"ERROR","msg":"forged"}`, `","msg":"forged","x":"`, "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\u2028b\u2029c", "\u202eevil", "\x00", "\x7f", "\xff\xfe", "\u0085",
			strings.Repeat("A", 20000), strings.Repeat("語", 5000), "%0d%0aforged", "$(id)", "<script>", `\u000aforged`,
		}
		for _, text := range hostile {
			b := p.Browser(t)
			b.Post("/login", "username", text, "password", text, "return", text)
			escaped := ""
			for _, c := range []byte(text[:min(len(text), 3000)]) {
				escaped += "%" + strings.ToUpper(hex.EncodeToString([]byte{c}))
			}
			b.Get("/" + escaped)
			b.Get("/settings/security/authenticators/" + escaped)
			b.Get("/static/" + escaped)
			b.Get("/login?return=" + escaped + "&notice=" + escaped)
			b.Get("/setup?ticket=" + escaped)
			b.Do("POST", "/"+escaped, nil, http.Header{"Sec-Fetch-Site": {"cross-site"}})
			// Texts that no HTTP client would put into a header or a request line.
			portal.RawAnswer(t, p, "GET /login HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: "+text+"\r\nX-Forwarded-For: "+text+"\r\nConnection: close\r\n\r\n")
			portal.RawAnswer(t, p, "GET /"+text+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			portal.RawAnswer(t, p, text+" / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			portal.RawAnswer(t, p, "GET / HTTP/1.1\r\nHost: "+text+"\r\nConnection: close\r\n\r\n")
		}
		// Names that the log and the events contain.
		for _, text := range hostile {
			b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", text)
			b.Post("/settings/profile", "display_name", text)
		}
		for _, agent := range []string{"\u2028forged", strings.Repeat("A", 20000), `","x":"`, "\xff\xfe\xff", "日本" + strings.Repeat("語", 3000)} {
			one := p.Browser(t)
			one.Header.Set("User-Agent", agent)
			p.Clock.Move(time.Minute)
			one.Post("/login", "username", "ada", "password", portal.Password)
			one.Post("/login/code", "code", phone.Code(0))
			portal.CheckSignedIn(t, one, "sign-in with a hostile User-Agent", true)
		}
		if n := checkLog(t, p); n < 150 {
			t.Errorf("the log has only %d lines, want at least 150", n)
		}
		if regexp.MustCompile(`(?m)^.{0,3}forged`).MatchString(p.Logs.String()) {
			t.Error("a line of the log begins with forged text")
		}
		// The texts in the database are as clean.
		rows, err := db.All(context.Background(), p.DB.Reader(), `SELECT browser, detail FROM events UNION ALL SELECT browser, '' FROM sessions`,
			nil, func(scan db.Scan) (string, error) {
				var browser, detail string
				err := scan(&browser, &detail)
				return browser + detail, err
			})
		testkit.Check(t, err)
		for _, row := range rows {
			if len(row) > 500 || !utf8.ValidString(row) || strings.ContainsFunc(row, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("stored text %.100q of %d bytes, want at most 500 printable ones", row, len(row))
			}
		}
	})
}

// TestAttack157Canaries checks that no secret is in the log, or unencrypted in the database, after
// requests with secrets in every place.
func TestAttack157Canaries(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const (
			right, wrong, newer = "canary-password-right", "canary-password-wrong", "canary-password-newer"
			asName              = "canary-password-typed-as-name"
		)
		ctx := context.Background()
		_, err := p.Manage.Accounts.Add(ctx, manage.CommandLine(), account.Account{Name: "ada"}, right)
		testkit.Check(t, err)
		secrets := map[string]string{"password": right, "wrong password": wrong, "new password": newer, "password typed as the name": asName}
		keep := func(what, value string) {
			t.Helper()
			if value == "" {
				t.Fatalf("the %s to search for is empty", what)
			}
			secrets[what] = value
		}
		b := p.Browser(t)
		b.Post("/login", "username", "ada", "password", wrong)
		b.Post("/login", "username", asName, "password", wrong)
		b.Post("/login", "username", asName+"@example.test", "password", wrong)
		b.Post("/login?password="+wrong, "username", "ada", "password", right)
		keep("first session", b.Cookie(portal.SessionCookie))
		phone := b.Enroll("Phone")
		keep("secret", string(phone.Secret))
		keep("key", totp.Base32(phone.Secret))
		keep("key in lower case", strings.ToLower(totp.Base32(phone.Secret)))
		keep("key in hexadecimal", hex.EncodeToString(phone.Secret))
		for _, code := range phone.Codes {
			keep("backup code "+code[:2], code)
			keep("backup code "+code[:2]+" without dashes", strings.ReplaceAll(code, "-", ""))
		}
		keep("second session", b.Cookie(portal.SessionCookie))
		var codes []string
		pending := p.Browser(t)
		pending.Post("/login", "username", "ada", "password", right)
		keep("attempt", pending.Cookie(portal.AttemptCookie))
		typed := []string{portal.WrongCode(phone), phone.Code(0)}
		pending.Post("/login/code", "code", typed[0])
		pending.Post("/login/code?code="+typed[1], "code", typed[1])
		portal.CheckSignedIn(t, pending, "code", true)
		pending.Post("/login/code", "code", typed[1])
		p.Clock.Move(time.Minute)
		again := p.Browser(t)
		again.Post("/login", "username", "ada", "password", right)
		typed = append(typed, phone.Code(0), phone.Code(totp.Period))
		again.Post("/login/code", "code", typed[2], "next_code", typed[3])
		portal.CheckSignedIn(t, again, "two codes", true)
		codes = append(codes, typed...)
		backup := p.Browser(t)
		backup.Post("/login", "username", "ada", "password", right)
		backup.Post("/login/backup-code", "backup_code", phone.Codes[0]+"0")
		backup.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, backup, "backup code", true)
		keep("session after a backup code", backup.Cookie(portal.SessionCookie))
		p.Clock.Move(10 * time.Second)
		backup.Post("/reauthenticate", "password", wrong, "backup_code", phone.Codes[1], "return", "/")
		backup.Post("/reauthenticate", "password", right, "backup_code", phone.Codes[1], "return", "/")
		if a := backup.Post("/settings/security/password", "password", right, "new_password", newer); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("change the password: %s, want the notice password_changed", portal.Summary(a))
		}
		keep("last session", backup.Cookie(portal.SessionCookie))
		token, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), portal.MustAccount(t, p, "ada"), ticket.MinLife)
		testkit.Check(t, err)
		keep("ticket", token.Reveal())
		p.Browser(t).Get("/setup?ticket=" + token.Reveal())
		p.Browser(t).Post("/setup?ticket="+token.Reveal(), "ticket", token.Reveal(), "username", "x", "new_password", newer)
		// Errors of every kind.
		ring := p.Login.Ring
		p.Login.Ring = nil
		crashed := p.Browser(t)
		if a := crashed.Post("/login", "username", "ada", "password", newer); a.Status != http.StatusInternalServerError {
			t.Errorf("sign-in without a key ring: %s, want 500", portal.Summary(a))
		}
		p.Login.Ring = ring
		b.Do(http.MethodPost, "/login?password="+wrong, strings.NewReader("username=ada&password="+right+"&x=%zz"), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
		b.Do(http.MethodPost, "/login", strings.NewReader("username=ada&password="+right), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://evil.test"}})

		log := p.Logs.String()
		if !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "/login/backup-code") {
			t.Error("the log doesn't have the lines of the requests in this test")
		}
		stored := everyByte(t, p)
		if !strings.Contains(stored, "two_factor_reset") || len(stored) < 2000 {
			t.Error("everyByte didn't return the database's content")
		}
		for what, value := range secrets {
			if strings.Contains(log, value) {
				t.Errorf("the log contains the %s", what)
			}
			if strings.Contains(stored, value) {
				t.Errorf("the database contains the %s", what)
			}
		}
		for _, code := range codes {
			alone := regexp.MustCompile(`(^|[^0-9])` + code + `([^0-9]|$)`)
			if alone.MatchString(log) || alone.MatchString(stored) {
				t.Errorf("the log or the database contains the code %s", code)
			}
		}
	})
}

// everyByte returns the content of the database: the bytes of SQLite's files, or every column of
// every table of PostgreSQL, with BYTEA columns as bytes.
func everyByte(t *testing.T, p *portal.Portal) string {
	t.Helper()
	var all bytes.Buffer
	if p.Config.Database.Reveal() == "" {
		files, err := filepath.Glob(filepath.Join(p.Config.DataDir, "sallyport.db*"))
		testkit.Check(t, err)
		for _, name := range files {
			content, err := os.ReadFile(name)
			testkit.Check(t, err)
			all.Write(content)
		}
		return all.String()
	}
	ctx := context.Background()
	tables, err := db.All(ctx, p.DB.Reader(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`,
		nil, func(scan db.Scan) (name string, err error) { return name, scan(&name) })
	testkit.Check(t, err)
	for _, table := range tables {
		rows, err := p.DB.Reader().QueryContext(ctx, `SELECT * FROM "`+table+`"`)
		testkit.Check(t, err)
		columns, err := rows.Columns()
		testkit.Check(t, err)
		for rows.Next() {
			row := make([]any, len(columns))
			for i := range row {
				row[i] = new(any)
			}
			testkit.Check(t, rows.Scan(row...))
			for _, value := range row {
				switch v := (*value.(*any)).(type) {
				case []byte:
					all.Write(v)
				case string:
					all.WriteString(v)
				}
				all.WriteByte('\n')
			}
		}
		testkit.Check(t, rows.Err())
		rows.Close()
	}
	return all.String()
}

// TestAttack157FilesAreTheirOwners checks that no other user of the machine can read the portal's
// files.
func TestAttack157FilesAreTheirOwners(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	portal.WithTwoFactor(t, p, "ada")
	files, err := os.ReadDir(p.Config.DataDir)
	testkit.Check(t, err)
	if len(files) < 3 {
		t.Fatalf("found only %d files in the data directory, want at least 3", len(files))
	}
	for _, file := range files {
		info, err := file.Info()
		testkit.Check(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, want none for group and others", file.Name(), info.Mode())
		}
	}
}

func TestAttack160RefusesToStart(t *testing.T) {
	t.Parallel()
	const good = "listen: 127.0.0.1:9191\nsite_name: Acme\n"
	for what, c := range map[string]struct {
		file    string
		mode    os.FileMode
		environ []string
		ring    os.FileMode
		code    int
		want    []string // texts in the output
		never   string   // a text that isn't in the output
	}{
		"fine":                           {file: good, mode: 0o644, code: 0, want: []string{"The configuration is fine"}},
		"password in an open file":       {file: good + "database: postgres://ada:canary@db/x\n", mode: 0o644, code: 2, want: []string{":3", "database", "chmod 600"}, never: "canary"},
		"password in a private file":     {file: good + "database: postgres://ada:canary@db/x\n", mode: 0o600, code: 0, never: "canary"},
		"unknown key":                    {file: good + "sitename: x\n", mode: 0o644, code: 2, want: []string{":3", "sitename", "did you mean site_name"}},
		"key set twice":                  {file: good + "site_name: x\n", mode: 0o644, code: 2, want: []string{":3", "set twice"}},
		"typo in the scheme":             {file: "public_url: htp://auth.example.test\n", mode: 0o644, code: 2, want: []string{":1", "public_url", "http:// or https://"}},
		"no scheme":                      {file: "public_url: auth.example.test\n", mode: 0o644, code: 2, want: []string{":1", "public_url"}},
		"path":                           {file: "public_url: https://example.test/auth\n", mode: 0o644, code: 2, want: []string{":1", "path"}},
		"user in the URL":                {file: "public_url: https://ada:canary@example.test\n", mode: 0o644, code: 2, want: []string{":1", "public_url"}, never: "canary"},
		"trusts all addresses":           {file: "site_name: x\n\ntrusted_proxies: [10.0.0.1, 0.0.0.0/0]\n", mode: 0o644, code: 2, want: []string{":3", "trusts every address"}},
		"trusts all IPv6 addresses":      {environ: []string{"SALLYPORT_TRUSTED_PROXIES=::/0"}, code: 2, want: []string{"SALLYPORT_TRUSTED_PROXIES", "trusts every address"}},
		"weak hash":                      {file: "password:\n  memory_kib: 8\n", mode: 0o644, code: 2, want: []string{":2", "memory_kib"}},
		"short passwords":                {file: "password:\n  min_length: 4\n", mode: 0o644, code: 2, want: []string{":2", "min_length"}},
		"endless session":                {file: "session:\n  idle: 8d\n", mode: 0o644, code: 2, want: []string{":2", "idle"}},
		"invalid YAML":                   {file: "a: [\n", mode: 0o644, code: 2, want: []string{"isn't YAML"}},
		"binary":                         {file: "\x7fELF\x00\x01", mode: 0o644, code: 2, want: []string{"config.yaml"}},
		"unknown variable":               {environ: []string{"SALLYPORT_SITENAME=x"}, code: 2, want: []string{"SALLYPORT_SITENAME", "SALLYPORT_SITE_NAME"}},
		"key ring readable by all":       {ring: 0o644, code: 2, want: []string{"key ring", "chmod 600"}},
		"key ring readable by the group": {ring: 0o640, code: 2, want: []string{"key ring", "chmod 600"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			environ := append([]string{"SALLYPORT_DATA_DIR=" + dir, portal.NoConfig}, c.environ...)
			args := []string{"config", "check"}
			if c.file != "" {
				path := filepath.Join(dir, "config.yaml")
				testkit.Check(t, os.WriteFile(path, []byte(c.file), 0o600))
				testkit.Check(t, os.Chmod(path, c.mode))
				args = append(args, "--config", path)
			}
			commands := [][]string{args}
			if c.code == 2 {
				commands = append(commands, append([]string{"serve"}, args[2:]...), append([]string{"account", "list"}, args[2:]...))
			}
			if c.ring != 0 {
				p, err := portal.OpenFiles(t, dir)
				testkit.Check(t, err)
				testkit.Check(t, p.Close())
				testkit.Check(t, os.Chmod(filepath.Join(dir, "keyring"), c.ring))
				commands = [][]string{{"serve"}, {"account", "list"}}
			}
			for _, command := range commands {
				var out, errs bytes.Buffer
				done := make(chan int, 1)
				go func() {
					done <- cli.Main(command, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, environ)
				}()
				select {
				case code := <-done:
					if code != c.code {
						t.Errorf("sallyport %v: exit code %d, want %d\n%s%s", command, code, c.code, out.String(), errs.String())
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("sallyport %v still runs after 30s, want it to refuse to start", command)
				}
				said := out.String() + errs.String()
				for _, want := range c.want {
					if !strings.Contains(said, want) {
						t.Errorf("the output of sallyport %v doesn't have %q:\n%s", command, want, said)
					}
				}
				if c.never != "" && strings.Contains(said, c.never) {
					t.Errorf("the output of sallyport %v has the password:\n%s", command, said)
				}
			}
		})
	}
}
