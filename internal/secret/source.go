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

// Source says where the key ring is kept: in a file that the commands change, or in
// a credential or a program, for which the operator stores each new ring.
type Source struct {
	// Path is the path of the ring's file or credential. For a credential, Path is empty if systemd
	// set no CREDENTIALS_DIRECTORY.
	Path string
	// Credential is the name of the systemd credential that Path points to; empty
	// if the ring is in a file or printed by a command.
	Credential string
	// Command is the absolute path of a program that prints the ring, followed by the program's
	// arguments. No shell interprets them.
	Command []string
}

// IsWritable reports whether the ring is in a file that the commands may write.
func (s Source) IsWritable() bool { return s.Credential == "" && len(s.Command) == 0 }

// String returns a noun phrase that names the ring.
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

// forNew is advice for a new portal whose source isn't writable.
const forNew = "for a new portal, \"sallyport key new\" prints one"

// Read reads the ring. Its errors say what to do. If the source is writable and the
// file doesn't exist, the error wraps [fs.ErrNotExist].
func (s Source) Read(ctx context.Context) (*Ring, error) {
	switch {
	case len(s.Command) > 0:
		return s.readCommand(ctx)
	case s.Credential != "":
		return s.readCredential()
	}
	ring, err := ReadRing(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no key ring at %s (%w): put its copy there; \"sallyport serve\" makes one for a new portal only", s.Path, fs.ErrNotExist)
	}
	return ring, err
}

func (s Source) readCommand(ctx context.Context) (*Ring, error) {
	text, err := runCommand(ctx, s.Command, commandTimeout)
	if err != nil {
		return nil, fmt.Errorf("key_ring_command: %w; it must print the key ring and end with status 0: run it by hand, as the user that runs Sallyport", err)
	}
	ring, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("key_ring_command: %s printed something that isn't a key ring: %w; put back a copy of the key ring where it reads it; %s", s.Command[0], err, forNew)
	}
	return ring, nil
}

// forbiddenCredentialModes are the mode bits that a credential must not have. systemd creates a
// credential with mode 0400, or with 0440 if it grants access by an ACL: then the group's bits show
// the ACL's mask.
const forbiddenCredentialModes = 0o027

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
	case mode&forbiddenCredentialModes != 0:
		return nil, fmt.Errorf("key_ring: %s has mode %v, so others may read or change it; systemd's credentials have 0400 or 0440", s.Path, mode)
	}
	ring, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("key_ring: the systemd credential at %s isn't a key ring: %w; store a copy of the key ring as that credential; %s", s.Path, err, forNew)
	}
	return ring, nil
}

// readFile returns the content and the mode of a file. It returns an error for anything but a
// regular file, and for a file that is too large for a key ring.
func readFile(path string) ([]byte, fs.FileMode, error) {
	// Use O_NONBLOCK, since opening a named pipe would otherwise wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat() // not os.Stat, since the name may belong to another file by now
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
