// Package disk puts a faulty disk under the data directory of a test. SQLite's writes
// fail as on a broken, full or read-only disk, and a power cut loses what wasn't
// synced. The program under test opens its database as usual.
package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

// mode says how writes fail.
type mode int

const (
	healthy mode = iota
	full
	readOnly
)

// Disk is the disk under one directory. It is safe for concurrent use.
type Disk struct {
	dir string

	mu     sync.Mutex
	mode   mode
	writes int // number of writes, truncations and syncs so far
	failAt int // number of the write that fails; 0: no write fails
	failed bool
	files  map[string]*image // SQLite's files, by path
}

// image is a file's synced content, which would survive a power cut, and the changes since
// then that are not synced yet.
type image struct {
	synced  []byte
	pending []change
}

// change is a write, or a truncation to offset if bytes is nil.
type change struct {
	offset int64
	bytes  []byte
}

func (c change) apply(content []byte) []byte {
	if c.bytes == nil {
		return content[:min(int64(len(content)), c.offset)]
	}
	if missing := c.offset + int64(len(c.bytes)) - int64(len(content)); missing > 0 {
		content = append(content, make([]byte, missing)...)
	}
	copy(content[c.offset:], c.bytes)
	return content
}

// Under puts a disk under dir until the test ends. Call it before a database in dir is
// opened.
func Under(t testing.TB, dir string) *Disk {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir) // SQLite resolves links too
	if err != nil {
		t.Fatal(err)
	}
	d := &Disk{dir: dir, files: map[string]*image{}}
	if err := mount(d); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(d) })
	return d
}

// FailAt makes the n-th write from now fail after half of its bytes. Later writes
// succeed. Truncations and syncs count as writes.
func (d *Disk) FailAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt, d.failed = d.writes+n, false
}

// Failed reports whether the write that [Disk.FailAt] chose has failed.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Fill makes every write fail, as on a full disk.
func (d *Disk) Fill() { d.setMode(full) }

// Protect makes every write fail and lets no file be opened for writing, as on a broken disk
// that the kernel has made read-only.
func (d *Disk) Protect() { d.setMode(readOnly) }

// Mend makes the disk healthy.
func (d *Disk) Mend() { d.setMode(healthy) }

func (d *Disk) setMode(m mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode, d.failAt = m, 0
}

// PowerCut returns a new directory with the files that a power cut now would leave. SQLite's
// files lack the writes that aren't synced; all other files are as they are now.
func (d *Disk) PowerCut(t testing.TB) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	after := t.TempDir()
	write := func(path string, content []byte) error {
		to := filepath.Join(after, strings.TrimPrefix(path, d.dir))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o600)
	}
	err := filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if _, isSQLites := d.files[path]; err != nil || isSQLites || entry.IsDir() || strings.HasSuffix(path, "-shm") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return write(path, content)
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range d.files {
		if err := write(path, f.synced); err != nil {
			t.Fatal(err)
		}
	}
	return after
}

// writeResult counts one write and returns its result: SQLITE_OK, SQLITE_FULL or
// ioError. half reports whether half of the bytes are written before the write fails.
func (d *Disk) writeResult(ioError int32) (code int32, half bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	switch {
	case d.mode == full:
		return sqlite3.SQLITE_FULL, true
	case d.mode == readOnly:
		return ioError, false
	case d.writes == d.failAt:
		d.failed = true
		return ioError, true
	}
	return sqlite3.SQLITE_OK, false
}

func (d *Disk) isReadOnly() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mode == readOnly
}

// opened records the content of a file that the disk doesn't know yet. All of it counts
// as synced.
func (d *Disk) opened(path string, content func() []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[path] == nil {
		d.files[path] = &image{synced: content()}
	}
}

func (d *Disk) changed(path string, c change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[path]; f != nil { // nil if the file was deleted while open
		f.pending = append(f.pending, c)
	}
}

func (d *Disk) sync(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[path]
	if f == nil {
		return
	}
	for _, c := range f.pending {
		f.synced = c.apply(f.synced)
	}
	f.pending = nil
}

func (d *Disk) deleted(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, path)
}
