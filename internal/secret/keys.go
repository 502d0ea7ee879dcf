package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/sallyport/sallyport/internal/durable"
)

// KeyState says what a key of the ring is used for.
type KeyState string

// The states of a key, in the order in which it has them.
const (
	KeySpare KeyState = "spare" // in the ring, but not used to seal yet
	KeySeals KeyState = "seals"
	KeyOld   KeyState = "old" // only opens what it sealed
)

// Key describes a key of the ring, without the key itself.
type Key struct {
	ID    string // 8 characters; not secret
	State KeyState
}

// Keys returns the ring's keys, oldest first. Exactly one has the state [KeySeals].
func (r *Ring) Keys() []Key {
	set := r.set.Load()
	keys := make([]Key, len(set.keys))
	for i, k := range set.keys {
		keys[i] = Key{ID: k.id.String(), State: KeySpare}
		switch {
		case i < set.seals:
			keys[i].State = KeyOld
		case i == set.seals:
			keys[i].State = KeySeals
		}
	}
	return keys
}

// KeyOf returns the id of the key that sealed a stored secret, even if that key
// isn't in the ring. It returns "" if sealed is too short to contain an id.
func KeyOf(sealed []byte) string {
	if len(sealed) < keyIDBytes {
		return ""
	}
	return keyID(sealed).String()
}

// SealedBatch is how many sealed secrets are read at once. On SQLite, one transaction seals that
// many again. It takes a few milliseconds, so a sign-in that waits for it is hardly delayed.
const SealedBatch = 100

// Sealed is a sealed secret as its table stores it.
type Sealed struct {
	ID    string // id of the row
	Place Place
	Bytes []byte
}

// Follow makes the ring take over the keys of the ring that the function reread returns. The ring
// calls reread whenever it seals and whenever it meets an unknown key. That function returns nil if
// the ring is unchanged. It must limit how often it reads the file, since it is called often and
// from many goroutines. Call Follow before other goroutines use the ring.
func (r *Ring) Follow(reread func() *Ring) { r.reread = reread }

// Refresh takes over the keys of a newer ring, if there is one; see [Ring.Follow]. It ignores a ring
// that has another key for [Ring.MAC], since that is another portal's ring.
func (r *Ring) Refresh() {
	if r.reread == nil {
		return
	}
	newer := r.reread()
	if newer != nil && bytes.Equal(newer.set.Load().signers[0].key, r.set.Load().signers[0].key) {
		r.set.Store(newer.set.Load())
	}
}

// with returns a copy of the set that has these keys. The parameter seals is the index of the
// sealing key.
func (s *keySet) with(keys []ringKey, seals int) *keySet {
	return &keySet{keys: keys, seals: seals, signers: slices.Clone(s.signers)}
}

// withFresh returns a copy of the set with one more key, a random spare key.
func (s *keySet) withFresh() *keySet {
	var id keyID
	rand.Read(id[:])
	raw := make([]byte, keyBytes)
	rand.Read(raw)
	next := s.with(append([]ringKey(nil), s.keys...), s.seals)
	if err := next.add(id, raw); err != nil {
		panic(err) // the sizes are right, and 48 random bits don't collide
	}
	return next
}

// rotated returns a copy of the set in which the newest key seals.
func (s *keySet) rotated() *keySet { return s.with(s.keys, len(s.keys)-1) }

const (
	// maxKeys limits the keys of a ring, so that the list of keys stays readable.
	maxKeys = 32

	// maxSigners limits the signers of a ring, so that its file stays within maxRingBytes, the
	// limit for reading. An operator who drops a key each week reaches it after 20 years.
	maxSigners = 1000 + maxKeys
)

// AddKey appends a spare key and returns the changed ring. If the source isn't
// writable ([Source.IsWritable]), the operator must store the returned ring; the
// same holds for [RotateKeys] and [RemoveOldKeys].
func AddKey(ctx context.Context, from Source) (*Ring, error) {
	return updateRing(ctx, from, func(s *keySet) (*keySet, error) {
		if len(s.keys) >= maxKeys {
			return nil, fmt.Errorf("the key ring holds %d keys already; run: sallyport key rotate --drop", maxKeys)
		}
		if len(s.signers) >= maxSigners {
			return nil, fmt.Errorf("%d keys were dropped, and the key ring has no room to verify the audit log of more; keep using the key that seals", s.dropped())
		}
		return s.withFresh(), nil
	})
}

// RotateKeys makes the newest key of the ring the one that seals, and returns the ring. The
// parameter newest is the id of the newest key that the caller saw; if the ring has a newer key,
// RotateKeys returns an error. Before RotateKeys stores the rotated ring, it calls the function
// handOver with that ring. handOver continues the audit log under the ring's [Ring.Signer] and
// returns a head that this signer signed. If handOver fails, it returns the zero Head, and the next
// RotateKeys calls it again.
func RotateKeys(ctx context.Context, from Source, newest string, handOver func(*Ring) Head) (*Ring, error) {
	return updateRing(ctx, from, func(s *keySet) (*keySet, error) {
		if s.keys[len(s.keys)-1].id.String() != newest {
			return nil, errors.New("another command added a key meanwhile; run this command again")
		}
		if s.seals == len(s.keys)-1 && s.handedOver() {
			return s, nil
		}
		next := s.rotated()
		next.signers[len(next.signers)-1].since = handOver(ringOf(s.rotated()))
		return next, nil
	})
}

// handedOver reports whether the audit log continues under the signer of the
// sealing key.
func (s *keySet) handedOver() bool {
	signer := s.dropped() + s.seals
	return signer == 0 || s.signers[signer].since.Seq > 0
}

// RemoveHandovers removes from the ring the hand-overs that the audit log of a restored database
// lacks, and returns the ring. A hand-over is the place from which on a later key signs the log. The
// parameter last is the last place of the log; all hand-overs after it are removed. The next
// [RotateKeys] hands over again.
func RemoveHandovers(ctx context.Context, from Source, last int64) (*Ring, error) {
	return updateRing(ctx, from, func(s *keySet) (*keySet, error) {
		next, changed := s.with(s.keys, s.seals), false
		for i := range next.signers {
			if next.signers[i].since.Seq > last {
				next.signers[i].since, changed = Head{}, true
			}
		}
		if !changed {
			return s, nil
		}
		return next, nil
	})
}

// RemoveOldKeys removes every old key from the ring and returns the ring. The [Signer] of each
// removed key stays in the ring, so that old entries of the audit log can be verified. The caller
// must have checked that no secret is sealed under an old key, since such a secret would be lost.
// The parameter sealing is the id of the sealing key that the caller saw; if the keys were rotated
// since, RemoveOldKeys returns an error.
func RemoveOldKeys(ctx context.Context, from Source, sealing string) (*Ring, error) {
	return updateRing(ctx, from, func(s *keySet) (*keySet, error) {
		switch {
		case s.keys[s.seals].id.String() != sealing:
			return nil, errors.New("another command rotated the keys meanwhile; run this command again")
		case s.seals == 0:
			return s, nil
		case !s.handedOver():
			return nil, errors.New("the audit log doesn't continue under the sealing key yet; run: sallyport key rotate")
		}
		return s.with(s.keys[s.seals:], 0), nil
	})
}

// updateRing applies the function change to the ring and returns the changed ring. If the source is
// writable, it replaces the file atomically and durably, under a lock that excludes other commands.
func updateRing(ctx context.Context, from Source, change func(*keySet) (*keySet, error)) (*Ring, error) {
	if !from.IsWritable() {
		ring, err := from.Read(ctx)
		if err != nil {
			return nil, err
		}
		after, err := change(ring.set.Load())
		if err != nil {
			return nil, err
		}
		return ringOf(after), nil
	}
	path, err := filepath.EvalSymlinks(from.Path) // replace the file and not a link to it
	if errors.Is(err, fs.ErrNotExist) {
		return from.Read(ctx) // the error of Read says what to do
	}
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	dir, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	ring, err := ReadRing(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	before := ring.set.Load()
	after, err := change(before)
	if err != nil || after == before {
		return ring, err
	}
	if err := replace(path, after.marshal(), info); err != nil {
		return nil, fmt.Errorf("write key ring: %w", err)
	}
	return ringOf(after), nil
}

// lockDir opens and locks the directory of the ring's file. Closing the directory releases the lock.
// The file itself isn't locked, since it will be replaced.
func lockDir(path string) (*os.File, error) {
	dir, err := durable.LockDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("lock the key ring's directory: %w", err)
	}
	return dir, nil
}

// replace replaces the file at path with one of mode 0600 that holds text. It does so durably, since
// all secrets sealed under a new key are lost if the key is lost. If the parameter before isn't nil,
// it describes the former file, and the new file gets the same owner: root may run a command for a
// server that runs as another user.
func replace(path string, text []byte, before os.FileInfo) error {
	f, err := durable.Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if before != nil {
		if was, ok := before.Sys().(*syscall.Stat_t); ok && int(was.Uid) != os.Geteuid() {
			if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
				return err
			}
		}
	}
	return f.Replace(path)
}
