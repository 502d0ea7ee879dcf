package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/testkit"
)

// unaudited are the commands that change no portal, or only create one.
var unaudited = strings.Fields(`init healthcheck config_show completion man help demo doctor config_check config_default account_list account_show group_list mail_test webhook_test queue_list
	pass_list audit_list audit_export audit_verify clock_show key_new key_list key_check reload version`)

// audited are the other commands, in an order in which they can be run, each with the
// events that it writes: kind, name of the account or "-", detail, number.
var audited = []struct {
	command string
	args    []string
	events  []string
}{
	{"account_setup-link", []string{"account", "setup-link"}, []string{"setup_link_issued - - 0"}},
	{"account_add", []string{"account", "add", "ada", "--password-stdin"}, []string{"account_created ada - 0"}},
	{"account_invite", []string{"account", "invite", "bob"}, []string{"account_invited bob link shown 0"}},
	{"account_set-password", []string{"account", "set-password", "ada", "--password-stdin"}, []string{"password_set ada - 0"}},
	{"account_set-email", []string{"account", "set-email", "ada", "ada@example.com"}, []string{"email_changed ada - 0"}},
	{"account_verify-email", []string{"account", "verify-email", "ada"}, []string{"email_verified ada - 0"}},
	{"account_set-role", []string{"account", "set-role", "ada", "helpdesk"}, []string{"role_changed ada helpdesk 0"}},
	{"account_unlock", []string{"account", "unlock", "ada"}, []string{"let_in_issued ada link shown 0"}},
	{"account_reset-two-factor", []string{"account", "reset-two-factor", "ada"}, []string{"two_factor_reset ada link shown 0"}},
	{"account_disable", []string{"account", "disable", "ada"}, []string{"account_disabled ada - 0"}},
	{"account_enable", []string{"account", "enable", "ada"}, []string{"account_enabled ada - 0"}},
	{"pass_add", []string{"pass", "add", "ada", "backup", "--panel", "http://panel.test"}, []string{"pass_made ada backup 0"}},
	{"pass_revoke", []string{"pass", "revoke", "ada", "backup"}, []string{"pass_revoked ada backup 0"}},
	{"group_add", []string{"group", "add", "ops"}, []string{"group_added - ops 0"}},
	{"group_join", []string{"group", "join", "ops", "ada"}, []string{"group_joined ada ops 0"}},
	{"group_leave", []string{"group", "leave", "ops", "ada"}, []string{"group_left ada ops 0"}},
	{"group_remove", []string{"group", "remove", "ops"}, []string{"group_removed - ops 0"}},
	{"queue_retry", []string{"mail", "queue", "retry"}, nil}, // the queue is empty
	{"clock_accept", []string{"clock", "accept"}, []string{"clock_accepted - - 0"}},
	{"key_add", []string{"key", "add"}, []string{"key_added - KEY 0"}},
	{"key_rotate", []string{"key", "rotate", "--drop"}, []string{"key_rotated - KEY 0", "secrets_resealed - KEY 1", "keys_dropped - - 1"}},
	{"backup", []string{"backup", "FILE"}, []string{"backed_up - FILE 1"}},
	{"restore", []string{"restore", "--after-pg-restore"}, []string{"restored - pg_restore 0"}},
	{"account_remove", []string{"account", "remove", "ada", "--yes"}, []string{"account_removed GONE ada 0"}},
}

// TestAttack159EveryCommandThatChangesSomethingIsAudited checks every command of the
// parser: a new command must be added to one of the two lists.
func TestAttack159EveryCommandThatChangesSomethingIsAudited(t *testing.T) {
	parser, err := kong.New(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		name := leaf.Name
		if leaf.Parent.Type == kong.CommandNode {
			name = leaf.Parent.Name + "_" + name
		}
		known := name == "serve" || name == "queue_drop" || slices.Contains(unaudited, name) // see TestMailQueue
		for _, one := range audited {
			known = known || one.command == name
		}
		if !known {
			t.Errorf("%s: does it change something? Add it to unaudited or audited", name)
		}
	}
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := filepath.Join(t.TempDir(), "sallyport.yml")
			if err := os.WriteFile(config, []byte("panels: [{url: http://panel.test, upstream: 'http://127.0.0.1:9'}]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			environ := append(environFor(t, engine), "SALLYPORT_CONFIG="+config)
			running := start(t, environ, "serve") // its set-up link is the first event
			running.waitFor(t, `setup\?ticket=`)
			want := []string{"setup_link_issued - - 0"}
			file := filepath.Join(t.TempDir(), "backup.db")
			for _, one := range audited {
				// With PostgreSQL, backups are pg_dump's; with SQLite, restore takes a file.
				if engine == "sqlite" && one.command == "restore" || engine == "postgres" && one.command == "backup" {
					continue
				}
				args := slices.Clone(one.args)
				if i := slices.Index(args, "FILE"); i >= 0 {
					args[i] = file
				}
				if code, out, errs := call(environ, "a long password of ada\n", args...); code != 0 {
					t.Fatalf("%v: exit code %d, want 0, got\n%s%s", args, code, out, errs)
				}
				want = append(want, one.events...)
			}
			slices.Sort(want) // events of one millisecond have no fixed order
			if diff := cmp.Diff(want, exportedEvents(t, environ, file)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if engine == "sqlite" {
				environ[1] = "SALLYPORT_DATA_DIR=" + dirWithRing(t, environ[1])
				if code, out, errs := call(environ, "", "restore", file); code != 0 {
					t.Fatalf("restore: exit code %d, want 0, got\n%s%s", code, out, errs)
				}
				if got := exportedEvents(t, environ, file); !slices.Contains(got, "restored - FILE 0") {
					t.Errorf("events after a restore: %q, want one that begins with restored", got)
				}
			}
		})
	}
}

// exportedEvents returns the events of the audit log in the form that audited has, sorted.
func exportedEvents(t *testing.T, environ []string, file string) []string {
	t.Helper()
	code, out, errs := call(environ, "", "audit", "export")
	if code != 0 {
		t.Fatalf("audit export: exit code %d, want 0, got\n%s", code, errs)
	}
	var lines []exportedEvent
	for line := range strings.Lines(out) {
		var e exportedEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Actor != "command line" || e.Outcome != "done" || e.At.Location() != time.UTC {
			t.Errorf("%s by %q has outcome %q and time %v; want done, by the command line, in UTC", e.Event, e.Actor, e.Outcome, e.At)
		}
		lines = append(lines, e)
	}
	var events []string
	removed := map[string]bool{}
	for _, e := range lines {
		removed[e.AccountID] = removed[e.AccountID] || e.Event == "account_removed"
	}
	for _, e := range lines {
		name, detail := e.Account, e.Detail
		switch {
		case e.Event == "account_removed":
			name = "GONE"
		case removed[e.AccountID]:
			name = "ada"
		case e.AccountID == "":
			name = "-"
		}
		switch {
		case strings.HasPrefix(e.Event, "key_") || e.Event == "secrets_resealed":
			detail = "KEY"
		case detail == file:
			detail = "FILE"
		case detail == "":
			detail = "-"
		}
		events = append(events, fmt.Sprintf("%s %s %s %d", e.Event, name, detail, e.Number))
	}
	slices.Sort(events)
	return events
}

// dirWithRing returns a new data directory. It has a copy of the key ring from the data directory
// that setting, a variable of the environment, names.
func dirWithRing(t *testing.T, setting string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(strings.TrimPrefix(setting, "SALLYPORT_DATA_DIR="), "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keyring"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
