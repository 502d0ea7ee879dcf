package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the files that other users of this machine must not read or change. Empty paths
// are ignored.
type Files struct {
	Config  string   // others may read it, but not write to it
	KeyRing string   // "" if it is in one of the folders
	Folders []string // data_dir and backups; all files in them are tested
}

const (
	othersAny   fs.FileMode = 0o077
	othersWrite fs.FileMode = 0o022
)

// testFiles tests the modes of all files.
func (d *doctor) testFiles() {
	for _, folder := range d.Files.Folders {
		d.testFolder(folder)
	}
	if d.Files.KeyRing != "" {
		d.testFile(d.Files.KeyRing, othersAny)
	}
	if d.Files.Config != "" {
		d.testFile(d.Files.Config, othersWrite)
	}
}

func (d *doctor) testFolder(path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		d.skip("the files in "+path, "run doctor on the server, as the user that Sallyport runs as: "+pathless(err))
		return
	}
	d.testFile(path, othersWrite)
	for _, entry := range entries {
		if entry.Type().IsRegular() || entry.Type()&fs.ModeSymlink != 0 {
			d.testFile(filepath.Join(path, entry.Name()), othersAny)
		}
	}
}

// testFile adds a finding if the mode of a file or folder has one of the bits.
func (d *doctor) testFile(path string, bits fs.FileMode) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or not created yet
	case err != nil:
		d.skip("the mode of "+path, pathless(err))
	case info.Mode().Perm()&bits != 0:
		mode := "600"
		if info.IsDir() {
			mode = "700"
		}
		d.addWithFix("file.mode", path, request{}, answer{}, "chmod "+mode+" "+shellWord(path))
		d.addObservation("file.mode", path, "its mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}

// pathless returns the text of an error without its path.
func pathless(err error) string {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return err.Error()
}
