package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are those that nobody else may read or change. Empty paths are none.
type Files struct {
	Config  string   // others may read it, not write
	KeyRing string   // where it isn't in one of the folders
	Folders []string // with all that is in them: data_dir, backups
}

const (
	othersAny   fs.FileMode = 0o077
	othersWrite fs.FileMode = 0o022
)

// files looks at who else on this machine may read or change what is secret.
func (d *doctor) files() {
	for _, folder := range d.Files.Folders {
		d.folder(folder)
	}
	if d.Files.KeyRing != "" {
		d.file(d.Files.KeyRing, othersAny)
	}
	if d.Files.Config != "" {
		d.file(d.Files.Config, othersWrite)
	}
}

func (d *doctor) folder(path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		d.skip("the files in "+path, "run doctor on the server, as the user that Sallyport runs as: "+pathless(err))
		return
	}
	d.file(path, othersWrite)
	for _, entry := range entries {
		if entry.Type().IsRegular() || entry.Type()&fs.ModeSymlink != 0 {
			d.file(filepath.Join(path, entry.Name()), othersAny)
		}
	}
}

// file notes a file, or folder, whose mode gives others one of the bits.
func (d *doctor) file(path string, bits fs.FileMode) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // in the meantime, or not made yet
	case err != nil:
		d.skip("the mode of "+path, pathless(err))
	case info.Mode().Perm()&bits != 0:
		mode := "600"
		if info.IsDir() {
			mode = "700"
		}
		d.findLine("file.mode", path, request{}, answer{}, "chmod "+mode+" "+shellWord(path))
		d.seen("file.mode", path, "its mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}

func pathless(err error) string {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return err.Error()
}
