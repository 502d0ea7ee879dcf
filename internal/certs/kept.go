package certs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/durable"
)

// keptCertificates is the directory of what a CA gave: the account's key, and
// each certificate with its own, a file each, for the server's user only. Unlike
// [autocert.DirCache] it writes files durably.
type keptCertificates struct {
	dir string
	log *slog.Logger
}

// Get returns a file, or [autocert.ErrCacheMiss].
func (k keptCertificates) Get(_ context.Context, name string) ([]byte, error) {
	text, err := os.ReadFile(k.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, autocert.ErrCacheMiss
	}
	return text, err
}

// Put writes a file. The log has the error as well: autocert goes on without.
func (k keptCertificates) Put(_ context.Context, name string, text []byte) error {
	err := durable.Write(k.path(name), text)
	if err != nil {
		k.log.Error("the CA's certificates can't be stored, so the next start asks the CA again; check the reason", "reason", err.Error())
	}
	return err
}

// Delete removes a file, if it is there.
func (k keptCertificates) Delete(_ context.Context, name string) error {
	err := os.Remove(k.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// path keeps names, which the CA has a hand in, below the directory.
func (k keptCertificates) path(name string) string {
	return filepath.Join(k.dir, filepath.Clean("/"+name))
}
