package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestRestoreSaysWhatIsMissing(t *testing.T) {
	environ := environWithPortal(t, "sqlite")
	if code, _, errs := call(environ, "a long password of ada\n", "account", "add", "ada", "--password-stdin"); code != 0 {
		t.Fatal(errs)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, identities := filepath.Join(dir, "backup.age"), filepath.Join(dir, "identity")
	if err := os.WriteFile(identities, []byte(identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := call(environ, "", "backup", "--recipient", identity.Recipient().String(), file); code != 0 || !strings.Contains(out, "The one sealed secret in it opens") {
		t.Fatalf("backup: exit code %d, want 0\n%s%s", code, out, errs)
	}

	ring, err := os.ReadFile(filepath.Join(strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR="), "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	otherEnviron := []string{"SALLYPORT_DATA_DIR=" + other}
	wantFailure := func(want string, args ...string) {
		t.Helper()
		code, _, errs := call(otherEnviron, "", args...)
		if code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("%v: %d, want %q\n%s", args, code, want, errs)
		}
	}
	// If the ring is missing, no command creates a new one (F4).
	for _, args := range [][]string{{"restore", file}, {"key", "list"}, {"key", "check"}, {"key", "add"}, {"key", "rotate"}, {"backup", file + "2"}} {
		wantFailure("there is no key ring at "+filepath.Join(other, "keyring"), args...)
	}
	if err := os.WriteFile(filepath.Join(other, "keyring"), []byte("key AAAAAAAA AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFailure("add --identity FILE", "restore", file)
	wantFailure("is not this backup's; put a copy of", "restore", file, "--identity", identities)
	wantFailure("name the backup's file", "restore")
	if err := os.WriteFile(filepath.Join(other, "keyring"), ring, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := call(otherEnviron, "", "restore", file, "--identity", identities); code != 0 || !strings.Contains(out, "The database was restored") {
		t.Fatalf("restore: exit code %d, want 0 and \"The database was restored\", got\n%s%s", code, out, errs)
	}
	if code, out, errs := call(otherEnviron, "", "account", "list"); code != 0 || !strings.Contains(out, "ada") {
		t.Errorf("account list: exit code %d, want 0 and \"ada\", got\n%s%s", code, out, errs)
	}
	wantFailure("there is a database in "+other, "restore", file, "--identity", identities)
}

// A key ring without the key that sealed the database's secrets can't open them. key check lists
// these secrets and says what to do (F4).
func TestKeyCheckNamesWhatDoesNotOpen(t *testing.T) {
	environ := environWithPortal(t, "sqlite")
	if code, _, errs := call(environ, "a long password of ada\n", "account", "add", "ada", "--password-stdin"); code != 0 {
		t.Fatal(errs)
	}
	ring := filepath.Join(strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR="), "keyring")
	if err := os.WriteFile(ring, []byte("key AAAAAAAA AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := call(environ, "", "key", "check")
	if code != exitFailed || !strings.Contains(out, "passwords.phc of row") || !strings.Contains(errs, "put back a copy of the key ring") {
		t.Errorf("key check: exit code %d, want 1, got\n%s%s", code, out, errs)
	}
	if code, _, errs := call(environ, "", "key", "rotate", "--drop"); code != exitFailed || !strings.Contains(errs, "nothing was dropped") {
		t.Errorf("key rotate --drop: exit code %d, want 1 and \"nothing was dropped\", got\n%s", code, errs)
	}
}

func TestBackupIsEncryptedForTheConfiguredRecipients(t *testing.T) {
	environ := environWithPortal(t, "sqlite")
	if code, _, errs := call(environ, "a long password of ada\n", "account", "add", "ada", "--password-stdin"); code != 0 {
		t.Fatal(errs)
	}
	configured, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	named, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	environ = append(environ, "SALLYPORT_BACKUP_RECIPIENTS="+configured.Recipient().String())
	for name, test := range map[string]struct {
		args   []string
		opens  age.Identity
		closed age.Identity
	}{
		"by the configuration": {nil, configured, named},
		"by the command":       {[]string{"--recipient", named.Recipient().String()}, named, configured},
	} {
		file := filepath.Join(t.TempDir(), "backup.age")
		if code, out, errs := call(environ, "", append([]string{"backup", file}, test.args...)...); code != 0 {
			t.Fatalf("%s: exit code %d, want 0, got\n%s%s", name, code, out, errs)
		}
		for identity, want := range map[age.Identity]bool{test.opens: true, test.closed: false} {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := age.Decrypt(f, identity); (err == nil) != want {
				t.Errorf("%s: %v, want it to open: %v", name, err, want)
			}
		}
	}
	// A secret key that is given as a recipient by mistake isn't printed, so it gets into no
	// log.
	code, out, errs := call(environ, "", "backup", filepath.Join(t.TempDir(), "backup.age"), "--recipient", named.String())
	if code != exitUsage || !strings.Contains(errs, "is an age secret key") || strings.Contains(out+errs, named.String()) {
		t.Errorf("secret key as recipient: exit code %d, want 2 and \"is an age secret key\", got\n%s%s", code, out, errs)
	}
}

// The key ring records where each key takes over the audit log. After the restore of a
// backup from before a rotation, that position doesn't exist: the restore removes it from
// the ring, and the next rotation records a new one.
func TestRestoreOfABackupFromBeforeARotation(t *testing.T) {
	for _, source := range []string{"file", "command"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			environ, file := environFor(t, "sqlite"), ""
			if source == "command" {
				environ, file = environWithExternalRing(t, "sqlite", source)
			}
			run := func(want string, args ...string) {
				t.Helper()
				code, out, errs := call(environ, "a long password of ada\n", args...)
				if code != 0 || !strings.Contains(out+errs, want) {
					t.Fatalf("%v: %d, want %q\n%s%s", args, code, want, out, errs)
				}
				if source == "command" && strings.Contains(out, "\nkey ") {
					if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if source == "command" {
				run("", "key", "new")
			}
			run("", "init")
			run("was added", "account", "add", "ada", "--password-stdin")
			backup := filepath.Join(t.TempDir(), "backup.db")
			run("", "backup", backup)
			run("", "key", "add")
			run("is now the sealing key", "key", "rotate")
			run("The audit log is intact", "audit", "verify")
			dir := strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR=")
			for _, end := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(filepath.Join(dir, "sallyport.db"+end)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			run("run: sallyport key rotate", "restore", backup)
			run("No event is sealed yet", "audit", "verify")
			run("is now the sealing key", "key", "rotate")
			run("The audit log is intact", "audit", "verify")
			run("1 old key was dropped", "key", "rotate", "--drop")
			run("The audit log is intact", "audit", "verify")
		})
	}
}
