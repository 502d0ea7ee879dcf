package secret

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script writes a program for /bin/sh and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "print-key-ring")
	// Another test may start a process meanwhile, which would inherit the file open
	// for writing. The kernel refuses to run such a file.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandPrintsTheRing(t *testing.T) {
	want := NewRing()
	file := filepath.Join(t.TempDir(), "ring")
	if err := os.WriteFile(file, []byte(want.Text().Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]Source{
		"a program":        {Command: []string{"/bin/cat", file}},
		"a noisy script":   {Command: []string{script(t, "echo asking >&2\ncat "+file+"\n")}},
		"words stay whole": {Command: []string{script(t, `[ "$#" = 2 ] && [ "$1" = 'a $HOME; b' ] && cat "$2"`), "a $HOME; b", file}},
		"nothing to read":  {Command: []string{script(t, `read line && exit 1; cat `+file)}},
	} {
		ring, err := source.Read(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := ring.Text().Reveal(), want.Text().Reveal(); got != want {
			t.Errorf("%s: got another ring than the command printed", name)
		}
		if source.IsWritable() || !strings.Contains(source.String(), source.Command[0]) {
			t.Errorf("%s: %v must name the command; IsWritable() = %v, want false", name, source, source.IsWritable())
		}
	}
}

// An incomplete ring is refused (F4). The error shows standard error, and never the
// output, which may hold keys.
func TestCommandThatPrintsNoRingIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"fails":        {"echo key AAAAAAAA canary; echo 'the KMS\033[31m said\nno' >&2; exit 3", "ended with exit status 3: the KMS[31m said no; it must print"},
		"fails mutely": {"exit 1", "ended with exit status 1; it must print"},
		"dies":         {"kill -9 $$", "ended with signal: killed"},
		"prints none":  {":", "isn't a key ring: it contains no key; put back a copy of the key ring where it reads it; for a new portal, \"sallyport key new\" prints one"},
		"prints half":  {"echo key AAAAAAAA canary", `isn't a key ring: line 1 is not "key ID SECRET"`},
		"has no end":   {"while :; do echo canary canary canary canary; done", "printed more than 262144 bytes"},
		"a child keeps its output": {"sleep 300 & echo $! > \"$0.pid\"; echo canary",
			"a program that it started keeps its output open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := script(t, test.text+"\n")
			_, err := Source{Command: []string{path}}.Read(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") || strings.ContainsAny(err.Error(), "\n\033") {
				t.Errorf("got %v, want %q in one line, without the output", err, test.want)
			}
			if pid, err := os.ReadFile(path + ".pid"); err == nil {
				kill(t, string(pid))
			}
		})
	}
	if _, err := (Source{Command: []string{"/nowhere/program"}}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "run /nowhere/program: ") {
		t.Errorf("a program that doesn't exist: got %v", err)
	}
}

func kill(t *testing.T, pid string) {
	t.Helper()
	n := 0
	for _, digit := range strings.TrimSpace(pid) {
		n = 10*n + int(digit-'0')
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// A command that hangs is killed with its children, and the start goes on.
func TestCommandThatHangsIsKilledWithItsChildren(t *testing.T) {
	path := script(t, "exec 9>\"$0.lock\"; flock 9\necho waiting >&2\nsleep 300 &\nwait\n")
	_, err := runCommand(t.Context(), []string{path}, 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "didn't end within 200ms") {
		t.Errorf("got %v, want that the command didn't end", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	// A child that survived would hold the lock for five minutes.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runCommand(ctx, []string{path}, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: got %v, want Canceled", err)
	}
}

func TestCommandGetsPATHAndHOMEOnly(t *testing.T) {
	t.Setenv("SALLYPORT_DATABASE", "postgres://ada:hunter2@db/sallyport")
	t.Setenv("HOME", "/home/of/ada")
	text, err := runCommand(t.Context(), []string{"/usr/bin/env"}, commandTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name != "PATH" && (name != "HOME" || value != "/home/of/ada") {
			t.Errorf("the command's environment has %s, want only PATH and HOME", line)
		}
	}
}

func TestCredentialIsReadAsSystemdMakesIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ring")
	source := Source{Path: path, Credential: "ring"}
	refused := func(name, want string, source Source) {
		t.Helper()
		if _, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	refused("no directory", "CREDENTIALS_DIRECTORY isn't set", Source{Credential: "ring"})
	refused("no file", "there is no systemd credential at "+path+": the unit needs LoadCredential=ring:FILE", source)
	if err := os.WriteFile(path, []byte("key canary"), 0o400); err != nil {
		t.Fatal(err)
	}
	refused("no ring", `isn't a key ring: line 1 is not "key ID SECRET"; store a copy of the key ring as that credential`, source)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want := NewRing()
	if err := os.WriteFile(path, []byte(want.Text().Reveal()), 0o400); err != nil {
		t.Fatal(err)
	}
	for mode, good := range map[fs.FileMode]bool{0o400: true, 0o440: true, 0o600: true, 0o444: false, 0o660: false, 0o404: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if !good {
			refused(mode.String(), "others may read or change it", source)
		} else if ring, err := source.Read(t.Context()); err != nil || ring.Text().Reveal() != want.Text().Reveal() {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	refused("a directory", "isn't a file", Source{Path: dir, Credential: "ring"})
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a pipe", "isn't a file", Source{Path: pipe, Credential: "pipe"})
}

// If the source isn't writable, the functions return the new ring for the operator to store, and
// don't write files.
func TestRingThatIsNotWritableIsReturnedOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	source := Source{Path: path, Credential: "ring"}
	store := func(ring *Ring) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(ring.Text().Reveal()), 0o600); err != nil {
			t.Fatal(err)
		}
		return ring.Text().Reveal()
	}
	stored := store(NewRing())
	for _, step := range []struct {
		change func() (*Ring, error)
		want   string
	}{
		{func() (*Ring, error) { return AddKey(t.Context(), source) }, "seals spare"},
		{func() (*Ring, error) { return rotate(t, source) }, "old seals"},
		{func() (*Ring, error) {
			ring, err := source.Read(t.Context())
			if err != nil {
				return nil, err
			}
			return RemoveOldKeys(t.Context(), source, ring.Keys()[1].ID)
		}, "seals"},
	} {
		ring, err := step.change()
		if err != nil || states(ring) != step.want {
			t.Fatalf("keys are %q, %v; want %q", states(ring), err, step.want)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != stored {
			t.Fatalf("%s: the operator's file was changed: %v", step.want, err)
		}
		stored = store(ring)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("files in the directory: %v, %v; want the credential alone", left, err)
	}
}

// Of several commands on a new portal one creates the ring, and all of them use it.
func TestConcurrentCommandsUseOneRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	made := make(chan *Ring, 8)
	for range cap(made) {
		go func() {
			ring, err := CreateRing(path)
			if errors.Is(err, fs.ErrExist) {
				ring, err = ReadRing(path)
			}
			if err != nil {
				t.Error(err)
				ring = NewRing()
			}
			made <- ring
		}()
	}
	first := (<-made).Text()
	for range cap(made) - 1 {
		if ring := <-made; ring.Text() != first {
			t.Error("two commands have different rings")
		}
	}
}
