package cli

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// environWithExternalRing returns the variables of a configuration whose key ring is a systemd
// credential or the output of a command. It also returns the file that holds the ring. Sallyport
// doesn't write to that file; the test does, in the operator's place.
func environWithExternalRing(t *testing.T, engine, source string) (environ []string, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "ring")
	environ = environFor(t, engine)
	if source == "command" {
		return append(environ, "SALLYPORT_KEY_RING_COMMAND=/bin/cat, "+file), file
	}
	return append(environ, "SALLYPORT_KEY_RING=credential:ring", "CREDENTIALS_DIRECTORY="+filepath.Dir(file)), file
}

// waitUntilServing waits until a server that was started answers requests.
func waitUntilServing(t *testing.T, server *command) {
	t.Helper()
	resp, err := http.Get(server.waitFor(t, `Sallyport is at (\S+)`)[1] + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// withoutPositions returns the ring without the positions in the audit log at which keys
// take over. They differ from one rotation to the next until a ring is stored.
func withoutPositions(ring string) string {
	return regexp.MustCompile(` since \S+`).ReplaceAllString(ring, "")
}

// A changed ring that Sallyport can't store is printed to standard output, without other
// text, and the operator stores it.
func TestKeysChangeIfSallyportCanOnlyReadTheRing(t *testing.T) {
	for _, engine := range testkit.Engines {
		for _, source := range []string{"command", "credential"} {
			t.Run(engine+"/"+source, func(t *testing.T) {
				t.Parallel()
				environ, file := environWithExternalRing(t, engine, source)
				run := func(want string, args ...string) string {
					t.Helper()
					code, out, errs := call(environ, "a long password of ada\n", args...)
					if code != 0 || !strings.Contains(out+errs, want) {
						t.Fatalf("%v: %d, want %q\n%s%s", args, code, want, out, errs)
					}
					return out
				}
				store := func(ring string) {
					t.Helper()
					if err := os.WriteFile(file+".new", []byte(ring), 0o400); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(file+".new", file); err != nil {
						t.Fatal(err)
					}
				}
				// If the ring is missing, no command creates anything (F4).
				for _, args := range [][]string{{"serve"}, {"init"}, {"account", "list"}, {"key", "list"}, {"key", "add"}, {"key", "rotate"}} {
					if code, out, errs := call(environ, "", args...); code == 0 || out != "" || !strings.Contains(strings.ToLower(errs), "key_ring") {
						t.Fatalf("%v without a ring: %d; want a failure that names key_ring, and no output\n%s%s", args, code, out, errs)
					}
				}
				store(run("seals", "key", "new"))
				run("Made the", "init")
				run("was added", "account", "add", "ada", "--password-stdin")
				running := start(t, environ, "serve")
				waitUntilServing(t, running)

				first := run("seals", "key", "list")
				added := run("seals nothing yet", "key", "add")
				if text, err := os.ReadFile(file); err != nil || string(text) == added {
					t.Fatalf("the operator's file was changed: %v", err)
				}
				store(added)
				run("spare", "key", "list")
				// The running server doesn't have the new key.
				if code, out, errs := call(environ, "", "key", "rotate"); code != exitFailed || out != "" || !strings.Contains(errs, "restart them") {
					t.Fatalf("rotate before the server has the key: exit code %d, want 1 and \"restart them\", got\n%s%s", code, out, errs)
				}
				if running.end() != 0 {
					t.Errorf("serve: %s, want exit code 0", running.err)
				}
				running = start(t, environ, "serve")
				waitUntilServing(t, running)
				rotated := run("1 secret was sealed again", "key", "rotate")
				if code, out, errs := call(environ, "", "key", "rotate", "--drop"); code != exitFailed || withoutPositions(out) != withoutPositions(rotated) || !strings.Contains(errs, "store the ring first") {
					t.Errorf("drop before the ring is stored: exit code %d, want 1 and \"store the ring first\", got\n%s%s", code, out, errs)
				}
				store(rotated)
				run("old", "key", "list")
				if printed := run("0 secrets were sealed again", "key", "rotate"); printed != "" {
					t.Errorf("a ring was printed although it is stored already:\n%s", printed)
				}
				dropped := run("1 old key was dropped", "key", "rotate", "--drop")
				store(dropped)
				if now := run("seals", "key", "list"); now == first || strings.Contains(now, "old") {
					t.Errorf("keys at the end (want the new key only):\n%s", now)
				}
				if out := run("seals", "key", "check"); !strings.Contains(out, "  1\n") {
					t.Errorf("key check (want one secret under the new key):\n%s", out)
				}
				if running.end() != 0 {
					t.Errorf("serve: %s, want exit code 0", running.err)
				}
				if files, err := os.ReadDir(filepath.Dir(file)); err != nil || len(files) != 1 {
					t.Errorf("files in the operator's folder: %v, %v; want one", files, err)
				}
				if _, err := os.Stat(filepath.Join(strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR="), "keyring")); err == nil {
					t.Error("a key ring was written to data_dir")
				}
			})
		}
	}
}

func TestBackupAndRestoreWithAnExternalRing(t *testing.T) {
	environ, file := environWithExternalRing(t, "sqlite", "credential")
	_, ring, _ := call(nil, "", "key", "new")
	if err := os.WriteFile(file, []byte(ring), 0o400); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	for _, step := range []struct {
		want string
		args []string
	}{
		{"Made the database", []string{"init"}},
		{"was added", []string{"account", "add", "ada", "--password-stdin"}},
		{"keep a copy of the key ring in the systemd credential ring elsewhere", []string{"backup", backup}},
	} {
		if code, out, errs := call(environ, "a long password of ada\n", step.args...); code != 0 || !strings.Contains(out, step.want) {
			t.Fatalf("%v: exit code %d, want 0, got\n%s%s", step.args, code, out, errs)
		}
	}
	// A new machine, which has only the credential.
	environ[1] = "SALLYPORT_DATA_DIR=" + filepath.Join(t.TempDir(), "new", "data")
	if code, out, errs := call(environ, "", "restore", backup); code != 0 {
		t.Fatalf("restore: exit code %d, want 0, got\n%s%s", code, out, errs)
	}
	if code, out, errs := call(environ, "", "account", "list"); code != 0 || !strings.Contains(out, "ada") {
		t.Errorf("account list: exit code %d, want 0 and \"ada\", got\n%s%s", code, out, errs)
	}
	// The demo has a key ring of its own and ignores the configuration.
	demo := start(t, environ, "demo", "--listen", testkit.FreeAddress(t))
	demo.waitFor(t, `Open +(\S+)`)
	if code := demo.end(); code != 0 {
		t.Errorf("demo: exit code %d, want 0, got\n%s", code, demo.err)
	}
}
