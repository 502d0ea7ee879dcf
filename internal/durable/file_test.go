package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

var (
	errCut   = errors.New("the power is cut")
	errLinks = errors.New("no links here")
)

// platter simulates a disk that loses its power: it keeps the synced content of files, under the
// names that were in their directories when these were synced.
type platter struct {
	t       *testing.T
	content map[uint64]string // of synced files, by inode
	names   map[string]uint64 // inodes by path
	noLinks bool              // as on a network share
	left    int               // calls until the power is cut
}

func newPlatter(t *testing.T, dir string, left int) *platter {
	p := &platter{t: t, content: map[uint64]string{}, names: map[string]uint64{}, left: 1000}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(fileNames(dir, entries), dir) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.sync(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	p.left = left
	return p
}

func fileNames(dir string, entries []fs.DirEntry) (paths []string) {
	for _, entry := range entries {
		paths = append(paths, filepath.Join(dir, entry.Name()))
	}
	return paths
}

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func (p *platter) calls() calls {
	return calls{
		sync: func(f *os.File) error { return p.unlessCut(func() error { return p.sync(f) }) },
		rename: func(from, to string) error {
			return p.unlessCut(func() error { return os.Rename(from, to) })
		},
		link: func(from, to string) error {
			return p.unlessCut(func() error {
				if p.noLinks {
					return errLinks
				}
				return os.Link(from, to)
			})
		},
	}
}

func (p *platter) unlessCut(call func() error) error {
	if p.left--; p.left < 0 {
		return errCut
	}
	return call()
}

// sync keeps what a file or a directory holds now.
func (p *platter) sync(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(f.Name())
		p.content[inode(info)] = string(text)
		return err
	}
	entries, err := os.ReadDir(f.Name())
	if err != nil {
		return err
	}
	for path := range p.names {
		if filepath.Dir(path) == f.Name() {
			delete(p.names, path)
		}
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		p.names[filepath.Join(f.Name(), entry.Name())] = inode(info)
	}
	return nil
}

// read returns what is at path after the power cut.
func (p *platter) read(path string) (text string, there bool) {
	number, there := p.names[path]
	return p.content[number], there
}

const earlierText, newText = "the earlier content", "the new content"

// Whenever the power is cut, the file has the whole earlier content or the whole new one.
// Once the write has returned nil it has the new one; that holds only because the directory
// is synced too.
func TestPowerCutLeavesAWholeFile(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  bool // there is a file already
		noLinks bool
		write   func(calls, string) error
	}{
		{"Write", false, false, write},
		{"Write over a file", true, false, write},
		{"Publish", false, false, publish},
		{"Publish without links", false, true, publish},
	} {
		t.Run(test.name, func(t *testing.T) {
			for calls := 0; ; calls++ {
				if calls > 10 {
					t.Fatal("more than 10 calls")
				}
				dir := t.TempDir()
				path := filepath.Join(dir, "file")
				if test.before {
					if err := os.WriteFile(path, []byte(earlierText), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				p := newPlatter(t, dir, calls)
				p.noLinks = test.noLinks
				err := test.write(p.calls(), path)
				got, there := p.read(path)
				whole := there && got == newText || test.before && there && got == earlierText || !test.before && !there
				if !whole {
					t.Errorf("cut after %d calls: %q, %v; want a whole file", calls, got, there)
				}
				if err == nil {
					if got != newText {
						t.Errorf("the write succeeded, and the power cut left %q, %v; want the new text", got, there)
					}
					break
				}
				if !errors.Is(err, errCut) {
					t.Fatal(err)
				}
			}
		})
	}
}

func write(c calls, path string) error { return c.write(path, []byte(newText)) }

func publish(c calls, path string) error {
	f, err := c.create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.WriteString(newText); err != nil {
		return err
	}
	return f.Publish(path)
}

func TestPowerCutLeavesTheDirectoriesThatWereMade(t *testing.T) {
	dir := t.TempDir()
	p := newPlatter(t, dir, 1000)
	inner := filepath.Join(dir, "a", "b")
	if err := p.calls().makeDir(inner); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "a"), inner} {
		if _, there := p.names[path]; !there {
			t.Errorf("%s is gone after a power cut", path)
		}
	}
	if err := MakeDir(inner); err != nil {
		t.Errorf("a directory that is there: %v, want no error", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeDir(filepath.Join(file, "x")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v, want ENOTDIR", err)
	}
}

func TestPublishReplacesNothing(t *testing.T) {
	for _, noLinks := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(earlierText), 0o600); err != nil {
			t.Fatal(err)
		}
		p := newPlatter(t, dir, 1000)
		p.noLinks = noLinks
		if err := publish(p.calls(), path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("noLinks %v: %v; want ErrExist", noLinks, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != earlierText {
			t.Errorf("noLinks %v: the earlier file holds %q, %v; want it unchanged", noLinks, text, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("noLinks %v: %v, %v; want the earlier file alone", noLinks, entries, err)
		}
	}
}

func TestDiscardRemovesWhatSQLiteLeftBeside(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	for _, end := range beside {
		if err := os.WriteFile(f.Name()+end, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Discard()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v; want 0", entries, err)
	}
}
