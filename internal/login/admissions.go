package login

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

const (
	// keptFor bounds how old what is kept may be, whatever else fails.
	keptFor = 5 * time.Second

	// maxKept visits and passes are kept, of about 1 kB each; more are read again.
	maxKept = 8192
)

// tokenHash is what a visit or a pass is found by.
type tokenHash [32]byte

// Admissions keeps for seconds who visits which panel, and by which pass, since
// every click asks. It isn't what decides: whatever ends or changes a visit, its
// session, a pass or the account drops it, on every node (DESIGN §12), and what expires with time is
// looked at each time. Where it isn't certain that every change was heard, all
// is read from the database.
type Admissions struct {
	db *db.DB

	mu         sync.RWMutex
	young, old map[tokenHash]admitted // old ones go when the young are half of all
	drops      uint64
}

type admitted struct {
	*Visitor
	at time.Time // it was read no earlier
}

// NewAdmissions returns what hears of every change in d.
func NewAdmissions(d *db.DB) *Admissions {
	k := &Admissions{db: d, young: map[tokenHash]admitted{}}
	d.OnChange(k.drop)
	return k
}

// get returns who is kept for the token, or nil.
func (k *Admissions) get(hash tokenHash, now time.Time) *Visitor {
	if !k.db.Current(now) {
		return nil
	}
	k.mu.RLock()
	one, ok := k.young[hash]
	if !ok {
		one, ok = k.old[hash]
	}
	k.mu.RUnlock()
	if age := now.Sub(one.at); !ok || age < 0 || age >= keptFor {
		return nil
	}
	return one.Visitor
}

// begin is called before the database is read for put: what is dropped between
// may have been read before it changed.
func (k *Admissions) begin() (drops uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.drops
}

// put keeps who was read after now and begin.
func (k *Admissions) put(v *Visitor, now time.Time, drops uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.drops != drops {
		return
	}
	if len(k.young) >= maxKept/2 {
		k.young, k.old = map[tokenHash]admitted{}, k.young
	}
	k.young[v.hash] = admitted{v, now}
}

// seenAt is the last use that was noted of the visit's session or the pass.
func (v *Visitor) seenAt() time.Time {
	if v.Pass.ID != "" {
		return v.Pass.SeenAt
	}
	return v.Visit.Session.SeenAt
}

// seen notes that the visit or pass is used at now, and reports whether nobody else
// noted it since v was read: then the database must be told.
func (k *Admissions) seen(v *Visitor, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kept := range []map[tokenHash]admitted{k.young, k.old} {
		one, ok := kept[v.hash]
		if !ok {
			continue
		}
		if one.seenAt().After(v.seenAt()) {
			return false
		}
		anew := *one.Visitor // who reads the old one isn't disturbed
		anew.Visit.Session.SeenAt, anew.Pass.SeenAt = now, now
		kept[v.hash] = admitted{&anew, one.at}
	}
	return true
}

// drop forgets what belongs to the account, session or pass with this id; "" is
// everything.
func (k *Admissions) drop(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drops++
	if id == "" {
		clear(k.young)
		k.old = nil
		return
	}
	for _, kept := range []map[tokenHash]admitted{k.young, k.old} {
		for hash, one := range kept {
			if one.Owner.ID == id || one.Visit.Session.ID == id || one.Pass.ID == id {
				delete(kept, hash)
			}
		}
	}
}
