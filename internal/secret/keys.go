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
)

// KeyState says what a key of the ring is for.
type KeyState string

// The states of a key, in the order in which it passes through them.
const (
	KeySpare KeyState = "spare" // in the file, seals nothing yet
	KeySeals KeyState = "seals"
	KeyOld   KeyState = "old" // opens what it sealed before
)

// Key is a key of the ring, without its secret.
type Key struct {
	ID    string // 8 characters; no secret
	State KeyState
}

// Keys returns the ring's keys, oldest first. Exactly one has [KeySeals].
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

// KeyOf returns the id of the key that sealed a stored secret, in the ring or
// not; "" where sealed is too short to have one.
func KeyOf(sealed []byte) string {
	if len(sealed) < keyIDBytes {
		return ""
	}
	return keyID(sealed).String()
}

// SealedBatch is how many secrets are read, and on SQLite then re-sealed in one
// transaction: a few milliseconds, so that a sign-in beside it hardly waits.
const SealedBatch = 100

// Sealed is a sealed secret as its table holds it.
type Sealed struct {
	ID    string // of its row
	Place Place
	Bytes []byte
}

// Follow makes the ring take over what reread returns, whenever it seals or
// meets a key that it doesn't know. reread returns nil where nothing is new; it
// is called often and from many goroutines, so it bounds how often it reads.
// Call Follow before the ring is shared.
func (r *Ring) Follow(reread func() *Ring) { r.reread = reread }

// Refresh takes over a newer ring, if there is one; see [Ring.Follow]. One with
// another key of [Ring.MAC] is another portal's file in the wrong place, and is
// left alone.
func (r *Ring) Refresh() {
	if r.reread == nil {
		return
	}
	newer := r.reread()
	if newer != nil && bytes.Equal(newer.set.Load().signers[0].key, r.set.Load().signers[0].key) {
		r.set.Store(newer.set.Load())
	}
}

// with returns a copy of the set with these keys.
func (s *keySet) with(keys []ringKey, seals int) *keySet {
	return &keySet{keys: keys, seals: seals, signers: slices.Clone(s.signers)}
}

// withFresh returns the set with one more random key, a spare one.
func (s *keySet) withFresh() *keySet {
	var id keyID
	rand.Read(id[:])
	raw := make([]byte, keyBytes)
	rand.Read(raw)
	next := s.with(append([]ringKey(nil), s.keys...), s.seals)
	if err := next.add(id, raw); err != nil {
		panic(err) // the sizes are ours, and 48 random bits don't meet
	}
	return next
}

// rotated returns the set with its newest key sealing.
func (s *keySet) rotated() *keySet { return s.with(s.keys, len(s.keys)-1) }

// TemporaryRing is the pattern of a ring's file while it is written.
const TemporaryRing = ".keyring-*"

const (
	// maxKeys keeps a look at a ring short.
	maxKeys = 32

	// maxSigners keeps a ring within maxRingBytes: what is written must be read.
	// A key that is dropped each week leaves as many in 20 years.
	maxSigners = 1000 + maxKeys
)

// AddKey appends a spare key to the ring and returns it. Where the ring isn't
// ours to write, here and in [RotateKeys] and [DropOldKeys], the operator must
// store what is returned.
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

// RotateKeys makes the newest key of the ring the one that seals, and returns
// the ring. newest is its id when the caller looked: one that was added since
// then is an error. handOver gets the rotated ring before it is stored; it lets
// the chain of signatures go on under [Ring.Signer] and returns a head that
// this has signed, or zero where it couldn't: then the next call asks again.
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

// handedOver reports whether the signer of the sealing key has taken over.
func (s *keySet) handedOver() bool {
	signer := s.dropped() + s.seals
	return signer == 0 || s.signers[signer].since.Seq > 0
}

// ForgetHandovers makes the ring forget the hand-overs behind the end of the
// chain, which a restored database has lost, and returns the ring. [RotateKeys]
// hands over again.
func ForgetHandovers(ctx context.Context, from Source, end int64) (*Ring, error) {
	return updateRing(ctx, from, func(s *keySet) (*keySet, error) {
		next, changed := s.with(s.keys, s.seals), false
		for i := range next.signers {
			if next.signers[i].since.Seq > end {
				next.signers[i].since, changed = Head{}, true
			}
		}
		if !changed {
			return s, nil
		}
		return next, nil
	})
}

// DropOldKeys removes every old key from the ring, but not its signer, and
// returns the ring. The caller has seen that nothing is sealed under one;
// whatever is would be lost. sealing is the id of the key that sealed when it
// looked: a rotation since then is an error.
func DropOldKeys(ctx context.Context, from Source, sealing string) (*Ring, error) {
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

// updateRing returns what change makes of the ring, and where it is ours puts
// it in place of the one of before, all or nothing, durably. Two commands at
// once change it one after the other.
func updateRing(ctx context.Context, from Source, change func(*keySet) (*keySet, error)) (*Ring, error) {
	if !from.Ours() {
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
	path, err := filepath.EvalSymlinks(from.Path) // else the link would be replaced
	if errors.Is(err, fs.ErrNotExist) {
		return from.Read(ctx) // says what to do
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
	if err := replace(dir, path, after.marshal(), info); err != nil {
		return nil, fmt.Errorf("write key ring: %w", err)
	}
	return ringOf(after), nil
}

// lockDir opens the directory of the ring's file, and locks it until it is
// closed. It is the directory, not the file: the file's name will stand for
// another one.
func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open the key ring's directory: %w", err)
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock the key ring's directory: %w", err)
	}
	return dir, nil
}

// replace puts a file with this text, for its owner alone, in place of the one
// at path, durably: its key will soon be the only one that opens somebody's
// secret. The owner of before, if any, stays: root may run a command beside a
// server that isn't.
func replace(dir *os.File, path string, text []byte, before os.FileInfo) error {
	f, err := os.CreateTemp(filepath.Dir(path), TemporaryRing) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing once it is renamed
	_, err = f.Write(text)
	if before != nil && err == nil {
		if was, ok := before.Sys().(*syscall.Stat_t); ok && int(was.Uid) != os.Geteuid() {
			err = f.Chown(int(was.Uid), int(was.Gid))
		}
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return dir.Sync()
}
