package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Source is where the key ring is kept: in a file of ours, which the commands
// change, or elsewhere, where the operator puts each new ring.
type Source struct {
	// Path is that of the file. A credential's is empty where systemd told us
	// no directory.
	Path string
	// Credential is the name of the systemd credential that the file is.
	Credential string
	// Command is a program, by its absolute path, and its arguments; it prints
	// the ring. See [printed] for how it runs.
	Command []string
}

// Ours reports whether the ring is in a file that we write.
func (s Source) Ours() bool { return s.Credential == "" && len(s.Command) == 0 }

// String names the ring, within a sentence.
func (s Source) String() string {
	switch {
	case len(s.Command) > 0:
		return "the key ring that " + s.Command[0] + " prints"
	case s.Credential != "":
		return "the key ring in the systemd credential " + s.Credential
	default:
		return "the key ring at " + s.Path
	}
}

// forNew says where the ring of a new portal comes from that isn't ours.
const forNew = "for a new portal, \"sallyport key new\" prints one"

// Read reads the ring. Errors say what to do; where a file of ours is missing
// it is [fs.ErrNotExist].
func (s Source) Read(ctx context.Context) (*Ring, error) {
	switch {
	case len(s.Command) > 0:
		return s.run(ctx)
	case s.Credential != "":
		return s.readCredential()
	}
	ring, err := ReadRing(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no key ring at %s (%w): put its copy there; \"sallyport serve\" makes one for a new portal only", s.Path, fs.ErrNotExist)
	}
	return ring, err
}

func (s Source) run(ctx context.Context) (*Ring, error) {
	text, err := printed(ctx, s.Command, commandTime)
	if err != nil {
		return nil, fmt.Errorf("key_ring_command: %w; it must print the key ring and end with status 0: run it by hand, as the user that runs Sallyport", err)
	}
	ring, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("key_ring_command: %s printed something that isn't a key ring: %w; put back a copy of the key ring where it reads it; %s", s.Command[0], err, forNew)
	}
	return ring, nil
}

// othersOfCredential are the modes that a credential doesn't have: systemd
// gives it 0400, or 0440 where the group's bits stand for one name of an ACL.
const othersOfCredential = 0o027

func (s Source) readCredential() (*Ring, error) {
	if s.Path == "" {
		return nil, fmt.Errorf("key_ring: CREDENTIALS_DIRECTORY isn't set, so there is no systemd credential %[1]s: the unit needs LoadCredential=%[1]s:FILE or LoadCredentialEncrypted=; a command beside the service needs, as root, CREDENTIALS_DIRECTORY=/run/credentials/UNIT", s.Credential)
	}
	text, mode, err := readFile(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("key_ring: there is no systemd credential at %s: the unit needs LoadCredential=%s:FILE or LoadCredentialEncrypted=; %s", s.Path, s.Credential, forNew)
	case err != nil:
		return nil, fmt.Errorf("key_ring: systemd credential: %w", err)
	case mode&othersOfCredential != 0:
		return nil, fmt.Errorf("key_ring: %s has mode %v, so others may read or change it; systemd's credentials have 0400 or 0440", s.Path, mode)
	}
	ring, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("key_ring: the systemd credential at %s isn't a key ring: %w; store a copy of the key ring as that credential; %s", s.Path, err, forNew)
	}
	return ring, nil
}

// readFile returns what a file that can be a key ring holds, and its mode.
func readFile(path string) ([]byte, fs.FileMode, error) {
	// A pipe would keep us waiting for who writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s isn't a file; name the key ring's file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRingBytes+1))
	if err == nil && len(text) > maxRingBytes {
		err = fmt.Errorf("%s is larger than %d bytes, so it isn't a key ring; name the key ring's file", path, maxRingBytes)
	}
	return text, info.Mode(), err
}
