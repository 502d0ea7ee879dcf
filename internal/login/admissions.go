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
	young, old map[tokenHash]*admitted // old ones go when the young are half of all
	drops      uint64
}

type admitted struct {
	Admission
	at time.Time // it was read no earlier
}

// NewAdmissions returns what hears of every change in d.
func NewAdmissions(d *db.DB) *Admissions {
	k := &Admissions{db: d, young: map[tokenHash]*admitted{}}
	d.OnChange(k.drop)
	return k
}

// get returns what is kept for the token and true, or false.
func (k *Admissions) get(hash tokenHash, now time.Time) (Admission, bool) {
	if !k.db.Current(now) {
		return Admission{}, false
	}
	k.mu.RLock()
	one, ok := k.young[hash]
	if !ok {
		one, ok = k.old[hash]
	}
	k.mu.RUnlock()
	if !ok {
		return Admission{}, false
	}
	age := now.Sub(one.at)
	return one.Admission, age >= 0 && age < keptFor
}

// begin is called before the database is read for put: what is dropped between
// may have been read before it changed.
func (k *Admissions) begin() (drops uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.drops
}

// put keeps what was read after now and begin.
func (k *Admissions) put(a Admission, now time.Time, drops uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.drops != drops {
		return
	}
	if len(k.young) >= maxKept/2 {
		k.young, k.old = map[tokenHash]*admitted{}, k.young
	}
	k.young[a.hash] = &admitted{a, now}
}

// seenAt is the last use that was noted of the visit's session or the pass.
func (a Admission) seenAt() time.Time {
	if a.Pass.ID != "" {
		return a.Pass.SeenAt
	}
	return a.Visit.Session.SeenAt
}

// seen notes that the visit or pass is used at now, and reports whether nobody else
// noted it since a was read: then the database must be told.
func (k *Admissions) seen(a Admission, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kept := range []map[tokenHash]*admitted{k.young, k.old} {
		one, ok := kept[a.hash]
		if !ok {
			continue
		}
		if one.seenAt().After(a.seenAt()) {
			return false
		}
		anew := *one // who reads the old one isn't disturbed
		anew.Visit.Session.SeenAt, anew.Pass.SeenAt = now, now
		kept[a.hash] = &anew
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
	for _, kept := range []map[tokenHash]*admitted{k.young, k.old} {
		for hash, one := range kept {
			if one.Owner.ID == id || one.Visit.Session.ID == id || one.Pass.ID == id {
				delete(kept, hash)
			}
		}
	}
}
