package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// maxSecretFile is the greatest size, in bytes, of a file with a password or secrets. A larger
// file must be the wrong one.
const maxSecretFile = 1 << 10

// readSecretFile returns the content of a file. It reads at most [maxSecretFile] bytes and one
// more, by which callers find that a file is too large. It returns an error if other users of
// this machine can read the file. The file's group can be allowed to read it if root owns it, as
// with a systemd credential. Errors call the content by the parameter what, such as "the password".
func readSecretFile(path, what string) (string, error) {
	// O_NONBLOCK, since opening a named pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w; write the path of a file that contains %s, in which ~ and $ aren't expanded", err, what)
	}
	if err != nil {
		return "", fmt.Errorf("%w; make the file readable by the user that runs Sallyport", err)
	}
	defer f.Close()
	info, err := f.Stat() // not os.Stat: the path could name another file by now
	if err != nil {
		return "", err
	}
	others := fs.FileMode(0o077)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == 0 {
		others = 0o027
	}
	switch {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s isn't a file; name the file that contains %s", path, what)
	case info.Mode().Perm()&others != 0:
		return "", fmt.Errorf("%s contains %s, and others on this machine may read it; run: chmod 600 %[1]s (or 640, where root owns it and its group is the server's)", path, withArticle(what))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	return string(text), err
}

// withArticle returns "a password" for "the password".
func withArticle(what string) string { return "a " + strings.TrimPrefix(what, "the ") }
