package server

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/secret"
)

// ringFile reads the key ring's file again, for a running server, when the file has changed.
// It is safe for concurrent use.
type ringFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	looked time.Time
	seen   os.FileInfo // the state of the file when it was last read
}

// follow makes ring take over the changes that commands write to its file. If Sallyport can't
// write the file, ring keeps what was read at the start.
func follow(ring *secret.Ring, source secret.Source, log *slog.Logger) {
	if source.IsWritable() {
		ring.Follow((&ringFile{path: source.Path, log: log}).reread)
	}
}

func (f *ringFile) reread() *secret.Ring {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < maintenance.RingEvery {
		return nil
	}
	f.looked = time.Now()
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) {
		return nil
	}
	var ring *secret.Ring
	if err == nil {
		ring, err = secret.ReadRing(f.path)
	}
	if err != nil {
		// The server goes on with the ring in memory; a restart would fail.
		f.log.Error("the changed key ring can't be read; the previous one stays in use", "reason", err.Error())
		return nil
	}
	f.seen = info
	return ring
}
