package entry

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
)

// admission returns a visitor admitted by a visit, with the token hash n.
func admission(n uint32) *Visitor {
	a := &Visitor{Owner: account.Account{ID: "owner"}, Visit: session.Visit{
		ID: "visit", Session: session.Session{ID: "session", SeenAt: testkit.Start},
	}}
	binary.BigEndian.PutUint32(a.hash[:], n)
	return a
}

// passAdmission returns a visitor admitted by a pass, with the token hash n.
func passAdmission(n uint32) *Visitor {
	return &Visitor{Owner: account.Account{ID: "owner"}, Pass: pass.Pass{ID: "pass", SeenAt: testkit.Start}, hash: admission(n).hash}
}

// watchedAdmissions returns a cache, at [testkit.Start], that receives the database's
// notifications.
func watchedAdmissions(t *testing.T) *Admissions {
	t.Helper()
	d := testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))
	k := NewAdmissions(d)
	k.add(admission(1), testkit.Start, k.evictionCount())
	if k.get(admission(1).hash, testkit.Start) != nil {
		t.Error("the cache keeps entries before it receives notifications")
	}
	go d.Watch(t.Context(), func() time.Time { return testkit.Start })
	testkit.Until(t, "watching", func() bool { return d.Current(testkit.Start) })
	return k
}

// has reports whether the cache has an entry with token hash n at [testkit.Start] plus offset.
func (k *Admissions) has(n uint32, offset time.Duration) bool {
	return k.get(admission(n).hash, testkit.Start.Add(offset)) != nil
}

func TestChangesEvictAdmissions(t *testing.T) {
	k := watchedAdmissions(t)
	if k.has(1, 0) {
		t.Error("the cache kept an entry from before it received notifications")
	}
	for what, by := range map[string]*Visitor{"visit": admission(2), "pass": passAdmission(2)} {
		for _, id := range []string{"owner", by.Visit.Session.ID + by.Pass.ID, ""} {
			k.add(by, testkit.Start, k.evictionCount())
			if k.evict("another id"); !k.has(2, 0) || k.has(3, 0) {
				t.Errorf("%s, before %q changes: in the cache %v, another one %v; want true, false", what, id, k.has(2, 0), k.has(3, 0))
			}
			if k.evict(id); k.has(2, 0) {
				t.Errorf("%s: still in the cache after %q changed", what, id)
			}
			began := k.evictionCount()
			k.evict(id)
			if k.add(by, testkit.Start, began); k.has(2, 0) {
				t.Errorf("%s: the cache stored what was read before %q changed", what, id)
			}
		}
	}
}

func TestAdmissionsAgeBySeconds(t *testing.T) {
	k := watchedAdmissions(t)
	// The clock of the notifications stands still, so that it doesn't invalidate the cache.
	k.add(admission(1), testkit.Start.Add(-maxCacheAge+time.Second), k.evictionCount())
	k.add(admission(2), testkit.Start.Add(time.Second), k.evictionCount())
	if !k.has(1, 0) || k.has(1, time.Second) {
		t.Errorf("entry near the age of %v: in the cache %v, and a second later %v; want true, false", maxCacheAge, k.has(1, 0), k.has(1, time.Second))
	}
	if k.has(2, 0) {
		t.Error("the cache returns an entry from the future, though the clock was set back")
	}
}

func TestAdmissionsAreBounded(t *testing.T) {
	k := watchedAdmissions(t)
	for n := range uint32(3 * maxCached) {
		k.add(admission(n), testkit.Start, k.evictionCount())
		if kept := len(k.young) + len(k.old); kept > maxCached {
			t.Fatalf("the cache has %d entries, want at most %d", kept, maxCached)
		}
		if !k.has(n, 0) {
			t.Fatalf("entry %d isn't in the cache", n)
		}
	}
}

// When many requests see at once that the last use is a minute old, one of them writes it.
func TestOneRequestWritesTheLastUse(t *testing.T) {
	k := watchedAdmissions(t)
	for what, by := range map[string]*Visitor{"visit": admission(1), "pass": passAdmission(1)} {
		k.add(by, testkit.Start, k.evictionCount())
		a := k.get(by.hash, testkit.Start)
		var (
			tell atomic.Int32
			all  sync.WaitGroup
		)
		for range 100 {
			all.Go(func() {
				if k.claimUse(a, session.Life{}, testkit.Start.Add(time.Minute)) {
					tell.Add(1)
				}
			})
		}
		all.Wait()
		if n := tell.Load(); n != 1 {
			t.Errorf("%s: %d requests write the use, want 1", what, n)
		}
	}
	if !k.claimUse(admission(2), session.Life{}, testkit.Start) {
		t.Error("the use of a visitor that isn't in the cache isn't written")
	}
}

// A use moves the end of a cached visit at once, since the visit could otherwise end before the
// use is written to the database.
func TestUseMovesTheEndOfACachedVisit(t *testing.T) {
	k := watchedAdmissions(t)
	life := session.Life{Idle: time.Hour, Absolute: 24 * time.Hour}
	first := admission(1)
	first.Visit.Session.ExpiresAt = testkit.Start.Add(life.Absolute)
	k.add(newVisitor(*first, &access.Panel{}, life), testkit.Start, k.evictionCount())
	k.claimUse(k.get(first.hash, testkit.Start), life, testkit.Start.Add(life.Idle-1))
	if got, want := k.get(first.hash, testkit.Start).endsAt, testkit.Start.Add(2*life.Idle-1); got != want {
		t.Errorf("the visit ends at %v, want %v", got, want)
	}
}
