package entry

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/session"
)

const (
	// maxCacheAge limits the age of an entry even if no invalidation arrives.
	maxCacheAge = 5 * time.Second

	// maxCached is the number of visits and passes in the cache, at about 1 kB each.
	maxCached = 8192
)

// tokenHash is the SHA-256 of a visit's or a pass's token, the key of the cache.
type tokenHash [32]byte

// Admissions caches visits and passes, so that not every request to a panel reads the database.
// It makes no decisions. A transaction on any node that ends or changes a visit, its session, a
// pass or the account evicts the entry, and expiry is checked on every use. While this node can't
// be sure that it is notified of every such transaction, all lookups miss and callers read the
// database. Admissions is safe for concurrent use.
type Admissions struct {
	db *db.DB

	mu         sync.RWMutex
	young, old map[tokenHash]*Visitor // old is dropped when young holds half of maxCached
	evictions  uint64
}

// NewAdmissions returns an empty cache that evicts what changes in d.
func NewAdmissions(d *db.DB) *Admissions {
	k := &Admissions{db: d, young: map[tokenHash]*Visitor{}}
	d.OnChange(k.evict)
	return k
}

// get returns the cached visitor with this token hash, or nil.
func (k *Admissions) get(hash tokenHash, now time.Time) *Visitor {
	if !k.db.Current(now) {
		return nil
	}
	k.mu.RLock()
	v, ok := k.young[hash]
	if !ok {
		v, ok = k.old[hash]
	}
	k.mu.RUnlock()
	if !ok {
		return nil
	}
	if age := now.Sub(v.readAt); age < 0 || age >= maxCacheAge {
		return nil
	}
	return v
}

// evictionCount returns the number of evictions so far. Callers call it before they read the
// database, and pass the number to add: an eviction in between may concern the rows that they read.
func (k *Admissions) evictionCount() (evictions uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.evictions
}

// add caches a visitor. The caller read it from the database after the time now, and after
// evictionCount had returned evictions.
func (k *Admissions) add(v *Visitor, now time.Time, evictions uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.evictions != evictions {
		return
	}
	if len(k.young) >= maxCached/2 {
		k.young, k.old = map[tokenHash]*Visitor{}, k.young
	}
	v.readAt = now
	k.young[v.hash] = v
}

// seenAt returns the last recorded use of the visit's session or of the pass.
func (v *Visitor) seenAt() time.Time {
	if v.Pass.ID != "" {
		return v.Pass.SeenAt
	}
	return v.Visit.Session.SeenAt
}

// claimUse records in the cache that the visit or pass is used at now. It reports whether this
// is the first use recorded since v was read: then the caller must write it to the database.
func (k *Admissions) claimUse(v *Visitor, life session.Life, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kept := range []map[tokenHash]*Visitor{k.young, k.old} {
		one, ok := kept[v.hash]
		if !ok {
			continue
		}
		if one.seenAt().After(v.seenAt()) {
			return false
		}
		updated := *one // a copy, since other requests read the old one
		updated.Visit.Session.SeenAt, updated.Pass.SeenAt = now, now
		updated.endsAt = updated.Visit.EndsAt(life)
		kept[v.hash] = &updated
	}
	return true
}

// evict removes the entries of the account, session or pass with this id, and all entries if
// id is empty.
func (k *Admissions) evict(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.evictions++
	if id == "" {
		clear(k.young)
		k.old = nil
		return
	}
	for _, kept := range []map[tokenHash]*Visitor{k.young, k.old} {
		for hash, one := range kept {
			if one.Owner.ID == id || one.Visit.Session.ID == id || one.Pass.ID == id {
				delete(kept, hash)
			}
		}
	}
}
