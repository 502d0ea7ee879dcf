// Package disk stands between SQLite and a test's data directory: writes fail
// as those of a sick, full or read-only disk do, and a power cut loses what
// wasn't synced. The database is opened as ever; nothing of the product knows.
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

// mode is what becomes of writes.
type mode int

const (
	well mode = iota
	full
	readOnly
)

// Disk is the disk under one directory. It is safe for concurrent use.
type Disk struct {
	dir string

	mu     sync.Mutex
	mode   mode
	writes int // so far: writes, truncations and syncs
	failAt int // the one that fails; 0: none
	failed bool
	files  map[string]*image // of SQLite's files, by path
}

// image is what a power cut leaves of a file, and what isn't synced yet.
type image struct {
	synced  []byte
	pending []change
}

// change is a write, or a truncation to offset where bytes is nil.
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

// Under returns the disk under dir until the test ends. A database in it must
// be opened afterwards.
func Under(t testing.TB, dir string) *Disk {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir) // as SQLite has it
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

// FailAt makes the n-th write from now fail, and only it: half of it is done.
// Truncations and syncs count as writes.
func (d *Disk) FailAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt, d.failed = d.writes+n, false
}

// Failed reports whether the write of [Disk.FailAt] has come.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Fill makes every write fail: the disk is full.
func (d *Disk) Fill() { d.become(full) }

// Protect makes every write fail, and nothing opens for writing: the disk is
// read-only, as the kernel makes one that is sick.
func (d *Disk) Protect() { d.become(readOnly) }

// Mend lets everything through again.
func (d *Disk) Mend() { d.become(well) }

func (d *Disk) become(m mode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode, d.failAt = m, 0
}

// PowerCut returns a new directory as the disk would have it after a power cut
// now: whatever SQLite hasn't synced is lost, other files are there.
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
		if _, ours := d.files[path]; err != nil || ours || entry.IsDir() || strings.HasSuffix(path, "-shm") {
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

// verdict is what becomes of one write: SQLITE_OK, or the error that SQLite's
// own files give, and whether half of it is done.
func (d *Disk) verdict(sick int32) (code int32, half bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	switch {
	case d.mode == full:
		return sqlite3.SQLITE_FULL, true
	case d.mode == readOnly:
		return sick, false
	case d.writes == d.failAt:
		d.failed = true
		return sick, true
	}
	return sqlite3.SQLITE_OK, false
}

func (d *Disk) readOnly() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mode == readOnly
}

// opened notes a file's content, all of which counts as synced, unless it is
// known.
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
	if f := d.files[path]; f != nil { // else it was deleted while open
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
