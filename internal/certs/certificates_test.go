package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/testkit"
)

// answers is an HTTP transport in place of a CA, since synctest allows no network.
type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A CA that refused isn't asked again at each watch or connection, since it allows only
// a few failures an hour. A reload shortens the pause.
func TestCAThatRefusesIsLeftAlone(t *testing.T) {
	settings := Settings{
		Hosts: []string{"auth.example.com"},
		CA:    &CA{Dir: filepath.Join(t.TempDir(), "acme"), Directory: "https://ca.example.com/directory"},
	}
	synctest.Test(t, func(t *testing.T) {
		c := New(settings, time.Now, slog.New(slog.DiscardHandler))
		if err := c.Begin(); err != nil {
			t.Fatal(err)
		}
		asked := 0
		c.ca.manager.Client.HTTPClient.Transport = answers(func(r *http.Request) (*http.Response, error) {
			asked++
			return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
		})
		begin, want := time.Now(), 0
		until := func(end time.Duration, more int) {
			t.Helper()
			for want += more; time.Since(begin) < end; time.Sleep(WatchEvery) {
				c.Watch(t.Context())
				if one, err := c.certificateFor(modern("auth.example.com")); one != nil || err != nil {
					t.Errorf("a handshake gets %v, %v; want neither a certificate nor an error", one, err)
				}
			}
			if asked != want {
				t.Errorf("until %v the CA was asked %d times, want %d", end, asked, want)
			}
			if fault := c.Fault(); fault != "the CA issued none for some hosts" {
				t.Errorf("fault %q, want that the CA issued none for some hosts", fault)
			}
		}
		until(time.Minute, 1)
		if err := c.Use(settings); err != nil {
			t.Fatal(err)
		}
		until(4*time.Minute, 1)
		until(30*time.Minute, 0)
		until(40*time.Minute, 1)
		if one, err := c.certificateFor(&tls.ClientHelloInfo{ServerName: "evil.example.com", SupportedProtos: []string{"acme-tls/1"}}); one != nil || err != nil {
			t.Errorf("another host's challenge: %v, %v; want neither a certificate nor an error", one, err)
		}
	})
}

// A server that stops doesn't wait for a CA.
func TestCAThatHangsHoldsNothingUp(t *testing.T) {
	t.Parallel()
	hangs := make(chan struct{})
	ca := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	t.Cleanup(ca.Close)
	t.Cleanup(func() { close(hangs) })
	a := newAuthority(CA{Dir: t.TempDir(), Directory: ca.URL}, func(string) bool { return true }, time.Now, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := a.certificate(ctx, "auth.example.com"); err != context.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
}

// mode is the [fs.FileInfo] of a file with this mode and owner.
type mode struct {
	fs.FileInfo
	mode  fs.FileMode
	owner uint32
}

func (m mode) Mode() fs.FileMode { return m.mode }
func (m mode) Sys() any          { return &syscall.Stat_t{Uid: m.owner} }

func TestKeysThatOthersReadAreRefused(t *testing.T) {
	for _, test := range []struct {
		mode  fs.FileMode
		owner uint32
		fine  bool
	}{
		{0o600, 0, true}, {0o600, 1000, true}, {0o400, 1000, true}, {0o640, 0, true}, {0o440, 0, true},
		{0o640, 1000, false}, {0o604, 0, false}, {0o644, 0, false}, {0o660, 0, false}, {0o610, 1000, false},
	} {
		if err := checkKeyMode("x.key", mode{mode: test.mode, owner: test.owner}); (err == nil) != test.fine || err != nil && !strings.Contains(err.Error(), "chmod 600 x.key") {
			t.Errorf("%o of %d: %v", test.mode, test.owner, err)
		}
	}
}

func TestShortLivesAreWarnedOfInTheirLastQuarter(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct{ life, before time.Duration }{{365 * day, 14 * day}, {90 * day, 14 * day}, {8 * day, 2 * day}} {
		one := &tls.Certificate{Leaf: &x509.Certificate{NotBefore: testkit.Start, NotAfter: testkit.Start.Add(test.life)}}
		at := one.Leaf.NotAfter.Add(-test.before)
		if endsSoon(one, at) || !endsSoon(one, at.Add(time.Second)) {
			t.Errorf("a life of %v isn't warned of %v before its end", test.life, test.before)
		}
	}
}

func TestKeptCertificatesStayInTheirFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log strings.Builder
	kept := keptCertificates{filepath.Join(dir, "acme"), slog.New(slog.NewTextHandler(&log, nil))}
	if err := kept.Put(t.Context(), "auth.test", nil); err == nil || !strings.Contains(log.String(), "can't be stored") {
		t.Errorf("without the folder: %v, %s; want an error and a line in the log", err, log.String())
	}
	if err := os.Mkdir(kept.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Get(t.Context(), "auth.test"); err != autocert.ErrCacheMiss {
		t.Errorf("Get of a certificate that isn't stored: %v, want autocert.ErrCacheMiss", err)
	}
	for _, text := range []string{"first", "second"} {
		if err := kept.Put(t.Context(), "auth.test", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := kept.Get(t.Context(), "auth.test"); err != nil || string(got) != text {
			t.Errorf("got %q, %v; want what was stored", got, err)
		}
	}
	entries, err := os.ReadDir(kept.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v; want 1", len(entries), err)
	}
	if info, err := os.Stat(filepath.Join(kept.dir, "auth.test")); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	for range 2 {
		if err := kept.Delete(t.Context(), "auth.test"); err != nil {
			t.Error(err)
		}
	}
	secret := filepath.Join(dir, "keyring")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../keyring", "x/../../keyring", "/../keyring"} {
		if got, err := kept.Get(t.Context(), name); err == nil {
			t.Errorf("%s reads %q; want an error", name, got)
		}
		if err := kept.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
}

// A server that was killed leaves files with temporary names beside the certificates.
func TestLeftOverCertificatesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	for name, at := range map[string]time.Time{".sallyport-1234567.tmp": now, ".keyring-mine": now, ".sallyport-22.tmp": now.Add(24 * time.Hour)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	if err := (keptCertificates{dir, log}).Put(t.Context(), "auth.test", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	settings := Settings{Hosts: []string{"auth.test"}, CA: &CA{Dir: dir}}
	dayLater := func() time.Time { return time.Now().Add(25 * time.Hour) }
	if err := New(settings, dayLater, log).Begin(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if got, want := strings.Join(names, " "), ".keyring-mine .sallyport-22.tmp auth.test"; got != want {
		t.Errorf("in the directory: %s, want %s", got, want)
	}
}
