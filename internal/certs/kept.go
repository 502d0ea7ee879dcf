package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/durable"
)

// keptCertificates implements [autocert.Cache]. It has one file for the key of the CA account and
// one for each certificate with its key, all of mode 0600. Unlike [autocert.DirCache], it writes
// files durably.
type keptCertificates struct {
	dir string
	log *slog.Logger
}

// Get returns the content of a file, or [autocert.ErrCacheMiss].
func (k keptCertificates) Get(_ context.Context, name string) ([]byte, error) {
	text, err := os.ReadFile(k.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, autocert.ErrCacheMiss
	}
	return text, err
}

// Put writes a file. It logs the error too, since autocert ignores it.
func (k keptCertificates) Put(_ context.Context, name string, text []byte) error {
	err := durable.Write(k.path(name), text)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; %s must be a directory that you may write to", err, k.dir)
	}
	if err != nil {
		k.log.Error("the CA's certificates can't be stored, so the next start asks the CA again; check the reason", "reason", err.Error())
	}
	return err
}

// Delete removes a file. It returns nil if the file doesn't exist.
func (k keptCertificates) Delete(_ context.Context, name string) error {
	err := os.Remove(k.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// path returns a path that is below the directory whatever the name is: the CA influences names.
func (k keptCertificates) path(name string) string {
	return filepath.Join(k.dir, filepath.Clean("/"+name))
}
