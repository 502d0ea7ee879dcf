package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/testkit"
)

// objects decodes JSON, one object a line.
func objects(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

func TestEveryListIsJSONLinesToo(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "sallyport.yml")
			write(t, file, "panels: [{url: http://panel.test, upstream: 'http://127.0.0.1:9'}]\n")
			environ := append(environWithPortal(t, engine), "SALLYPORT_CONFIG="+file)
			for _, args := range []string{
				"account add ada --administrator --password-stdin", "account invite bob --email bob@example.com", "account add eve --password-stdin",
				"account disable eve", "group add ops", "group join ops ada", "pass add ada nightly --panel http://panel.test --path /api/",
			} {
				if code, _, errs := call(environ, "a long password of hers\n", strings.Fields(args)...); code != 0 {
					t.Fatalf("%s: exit code %d, want 0, got\n%s", args, code, errs)
				}
			}
			lists := map[string][]string{ // from a command to the objects that it prints, with variable values replaced
				"account list":         {"map[email: name:ada role:administrator state:enabled two_factor:false]", "map[email:bob@example.com email_state:unconfirmed invited_until:UNTIL name:bob role:member state:invited two_factor:false]", "map[email: name:eve role:member state:disabled two_factor:false]"},
				"group list":           {"map[accounts:1 name:ops]"},
				"pass list ada":        {"map[from: made_by:command line methods: name:nightly panel:http://panel.test path:/api/ until:UNTIL]"},
				"key list":             {"map[id:ID state:seals]"},
				"key check":            {"map[id:ID secrets:2 state:seals]"},
				"audit list --limit 1": {"map[account:ada account_id:ID at:AT detail:nightly event:pass_made id:ID outcome:done actor:operator]"},
			}
			for args, want := range lists {
				code, out, errs := call(environ, "", append(strings.Fields(args), "--json")...)
				if code != 0 || errs != "" {
					t.Errorf("%s: exit code %d, want 0, got\n%s", args, code, errs)
				}
				var got []string
				for _, one := range objects(t, out) {
					for key, value := range one {
						switch key {
						case "until", "invited_until", "at":
							if _, err := time.Parse(time.RFC3339, value.(string)); err != nil {
								t.Error(err)
							}
							one[key] = "UNTIL"
						case "id", "account_id":
							one[key] = "ID"
						}
					}
					for _, key := range []string{"email", "methods", "from"} {
						if strings.Contains(want[0], key+":") && one[key] == nil {
							one[key] = ""
						}
					}
					delete(one, "browser")
					got = append(got, fmt.Sprint(one))
				}
				if strings.HasPrefix(args, "audit") {
					if len(got) != 1 || !strings.Contains(got[0], "event:pass_made") || !strings.Contains(got[0], "account:ada") {
						t.Errorf("%s: %q, want ada's event pass_made only", args, got)
					}
					continue
				}
				if strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("%s:\n%s\nwant:\n%s", args, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				// The table has the same number of rows, and a heading.
				if _, table, _ := call(environ, "", strings.Fields(args)...); strings.Count(table, "\n") != len(want)+1 {
					t.Errorf("%s (want a heading and a row for each object):\n%s", args, table)
				}
			}
			_, out, _ := call(environ, "", "account", "show", "ada", "--json")
			if one := objects(t, out); len(one) != 1 || one[0]["sessions"] != 0.0 || fmt.Sprint(one[0]["groups"]) != "[ops]" || one[0]["password_set_at"] == nil {
				t.Errorf("account show: %s, want one object with the groups and the time of the password", out)
			}
			_, out, _ = call(environ, "", "clock", "show", "--json")
			if one := objects(t, out); len(one) != 1 || one[0]["codes"] != "taken" || one[0]["now"] == nil {
				t.Errorf("clock show: %s, want one object with codes \"taken\"", out)
			}
		})
	}
}

// openTerminal returns both ends of a pseudoterminal: the person's, for typing and reading,
// and the program's.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { person.Close() })
	must(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	must(t, err)
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { program.Close() })
	return person, program
}

func TestRemovingAnAccountAsksOnATerminal(t *testing.T) {
	environ := environWithPortal(t, "sqlite")
	if code, _, errs := call(environ, "a long password of ada\n", "account", "add", "ada", "--password-stdin"); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs := call(environ, "ada\n", "account", "remove", "ada"); code != exitUsage || !strings.Contains(errs, "add --yes") {
		t.Errorf("without a terminal: exit code %d, want 2 and \"add --yes\", got\n%s", code, errs)
	}
	person, program := openTerminal(t)
	for _, step := range []struct {
		typed string
		code  int
		says  string
	}{{"y\n", exitFailed, "nothing was removed"}, {"\n", exitFailed, "nothing was removed"}, {"ada\n", 0, "can't be undone"}} {
		_, err := person.WriteString(step.typed)
		must(t, err)
		var errs strings.Builder
		code := mainContext(t.Context(), []string{"account", "remove", "ada"}, Streams{In: program, Out: &strings.Builder{}, Err: &errs}, environ)
		if code != step.code || !strings.Contains(errs.String(), step.says) || !strings.Contains(errs.String(), "Remove account ada") {
			t.Errorf("account remove, answered %q: exit code %d, want %d; stderr:\n%s", step.typed, code, step.code, errs.String())
		}
	}
	if code, _, _ := call(environ, "", "account", "show", "ada"); code == 0 {
		t.Error("the account is still there")
	}
}

func TestLogLinesAreTextOnATerminal(t *testing.T) {
	person, program := openTerminal(t)
	for _, test := range []struct {
		name, format string
		errs         any
		text         bool
	}{
		{"auto without a terminal", "auto", nil, false}, {"auto on a terminal", "auto", program, true},
		{"json on a terminal", "json", program, false}, {"text without a terminal", "text", nil, true},
	} {
		log := ""
		environ := append(environFor(t, "sqlite"), "SALLYPORT_LOG_FORMAT="+test.format)
		if test.errs == nil {
			c := start(t, environ, "serve")
			c.waitFor(t, "Sallyport is at")
			c.end()
			log = c.err.String()
		} else {
			c := startWithStreams(t, Streams{In: strings.NewReader(""), Out: newOutput(), Err: program}, nil, environ, "serve")
			c.waitFor(t, "Sallyport is at")
			c.end()
			buf := make([]byte, 64<<10)
			n, err := person.Read(buf)
			must(t, err)
			log = string(buf[:n])
		}
		first, _, _ := strings.Cut(log, "\n")
		if text := !strings.HasPrefix(first, "{") && strings.Contains(first, "level="); text != test.text || first == "" {
			t.Errorf("%s: %q, want a first line of text or JSON as configured", test.name, log)
		}
		if strings.Contains(log, "draining") {
			t.Errorf("%s: a server with drain: 0s logs that it drains:\n%s", test.name, log)
		}
	}
}
