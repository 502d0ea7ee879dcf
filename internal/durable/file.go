package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// pattern is the pattern from which [os.CreateTemp] makes temporary names.
const pattern = ".sallyport-*.tmp"

// beside are the ends of the names of the files that SQLite keeps beside a
// database.
var beside = []string{"-wal", "-shm", "-journal"}

// File is a file with a temporary name. It is for one goroutine.
type File struct {
	*os.File
	calls calls
}

// calls are the system calls that decide which files exist after a power cut. Tests replace
// them by functions that record the calls.
type calls struct {
	sync         func(*os.File) error
	rename, link func(from, to string) error
}

func system() calls { return calls{(*os.File).Sync, os.Rename, os.Link} }

// Create creates a file with a temporary name in dir, with mode 0600. The caller must call
// [File.Discard] when it is done with the file, also after an error.
func Create(dir string) (*File, error) { return system().create(dir) }

func (c calls) create(dir string) (*File, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return &File{f, c}, nil
}

// Discard closes the file and removes its temporary name, with the files that SQLite keeps
// beside it. A name that [File.Replace] or [File.Publish] gave the file stays.
func (f *File) Discard() {
	f.Close()
	os.Remove(f.Name())
	for _, end := range beside {
		os.Remove(f.Name() + end)
	}
}

// Replace gives the file the name path, which must be on the same file system, in place of the
// file that may have it. After an error, the name belongs to the earlier file, or to the new one
// with all of its content. After nil, it belongs to the new file, even after a power cut.
func (f *File) Replace(path string) error {
	if err := f.calls.sync(f.File); err != nil {
		return err
	}
	if err := f.calls.rename(f.Name(), path); err != nil {
		return err
	}
	return f.calls.syncDir(filepath.Dir(path))
}

// Publish is [File.Replace] for a name that must be new. If a file has the name already,
// Publish leaves it and returns [fs.ErrExist]. On most file systems the new file has its
// temporary name as well until [File.Discard].
func (f *File) Publish(path string) error {
	if err := f.calls.sync(f.File); err != nil {
		return err
	}
	// A rename would replace what is there; a link doesn't.
	err := f.calls.link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if err != nil {
		// A file system without links, such as a network share: reserve the name
		// first.
		reserved, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		reserved.Close()
		if err := f.calls.rename(f.Name(), path); err != nil {
			os.Remove(path)
			return err
		}
	}
	return f.calls.syncDir(filepath.Dir(path))
}

// Write replaces the file at path, or creates it with mode 0600; see
// [File.Replace].
func Write(path string, content []byte) error { return system().write(path, content) }

func (c calls) write(path string, content []byte) error {
	f, err := c.create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Replace(path)
}

// MakeDir makes the directory at path, and those above it that are missing, with mode 0700,
// durably. It has no effect where path is a directory.
func MakeDir(path string) error { return system().makeDir(path) }

func (c calls) makeDir(path string) error {
	var missing []string
	for dir := filepath.Clean(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, dir)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, dir := range missing {
		// The user of this process may be able to write to a directory that it can't read.
		// Then it can't open the directory to sync it.
		if err := c.syncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// syncDir makes the names in a directory durable. Some network file systems can't sync a
// directory and return EINVAL. PostgreSQL ignores that error too.
func (c calls) syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := c.sync(dir); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// GiveToOwner calls chown with the owner of a directory, unless that is this process's
// user. So root can give a new file to the user that the server runs as.
func GiveToOwner(dir string, chown func(uid, gid int) error) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	return chown(int(owner.Uid), int(owner.Gid))
}
