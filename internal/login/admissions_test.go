package login

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
)

func admission(n uint32) *Visitor {
	a := &Visitor{Owner: account.Account{ID: "owner"}, Visit: session.Visit{
		ID: "visit", Session: session.Session{ID: "session", SeenAt: testkit.Start},
	}}
	binary.BigEndian.PutUint32(a.hash[:], n)
	return a
}

// passAdmission is one by a pass.
func passAdmission(n uint32) *Visitor {
	return &Visitor{Owner: account.Account{ID: "owner"}, Pass: pass.Pass{ID: "pass", SeenAt: testkit.Start}, hash: admission(n).hash}
}

// keeping returns what keeps admissions, at [testkit.Start], of a database whose
// changes are heard.
func keeping(t *testing.T) *Admissions {
	t.Helper()
	d := testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))
	k := NewAdmissions(d)
	k.put(admission(1), testkit.Start, k.begin())
	if k.get(admission(1).hash, testkit.Start) != nil {
		t.Error("kept, though nobody hears of changes")
	}
	go d.Watch(t.Context(), func() time.Time { return testkit.Start })
	testkit.Until(t, "watching", func() bool { return d.Current(testkit.Start) })
	return k
}

func (k *Admissions) has(n uint32, after time.Duration) bool {
	return k.get(admission(n).hash, testkit.Start.Add(after)) != nil
}

func TestAdmissionsEnd(t *testing.T) {
	k := keeping(t)
	if k.has(1, 0) {
		t.Error("kept from before the changes were heard")
	}
	for what, by := range map[string]*Visitor{"visit": admission(2), "pass": passAdmission(2)} {
		for _, id := range []string{"owner", by.Visit.Session.ID + by.Pass.ID, ""} {
			k.put(by, testkit.Start, k.begin())
			if k.drop("somebody else"); !k.has(2, 0) || k.has(3, 0) {
				t.Errorf("%s, before %q changes: %v, %v", what, id, k.has(2, 0), k.has(3, 0))
			}
			if k.drop(id); k.has(2, 0) {
				t.Errorf("%s, kept after %q changed", what, id)
			}
			began := k.begin()
			k.drop(id)
			if k.put(by, testkit.Start, began); k.has(2, 0) {
				t.Errorf("%s, kept what was read before %q changed", what, id)
			}
		}
	}
}

func TestAdmissionsAgeBySeconds(t *testing.T) {
	k := keeping(t)
	// The clock that is heard by stands, so that ages are within its silence.
	k.put(admission(1), testkit.Start.Add(-keptFor+time.Second), k.begin())
	k.put(admission(2), testkit.Start.Add(time.Second), k.begin())
	if !k.has(1, 0) || k.has(1, time.Second) {
		t.Errorf("at %v: kept %v then %v", keptFor, k.has(1, 0), k.has(1, time.Second))
	}
	if k.has(2, 0) {
		t.Error("kept from the future: the clock was set back")
	}
}

func TestAdmissionsAreBounded(t *testing.T) {
	k := keeping(t)
	for n := range uint32(3 * maxKept) {
		k.put(admission(n), testkit.Start, k.begin())
		if kept := len(k.young) + len(k.old); kept > maxKept {
			t.Fatalf("%d are kept, at most %d may be", kept, maxKept)
		}
		if !k.has(n, 0) {
			t.Fatalf("number %d isn't kept", n)
		}
	}
}

// Of those that see at once that a minute is over, one tells the database.
func TestAdmissionIsSeenOnce(t *testing.T) {
	k := keeping(t)
	for what, by := range map[string]*Visitor{"visit": admission(1), "pass": passAdmission(1)} {
		k.put(by, testkit.Start, k.begin())
		a := k.get(by.hash, testkit.Start)
		var (
			tell atomic.Int32
			all  sync.WaitGroup
		)
		for range 100 {
			all.Go(func() {
				if k.seen(a, testkit.Start.Add(time.Minute)) {
					tell.Add(1)
				}
			})
		}
		all.Wait()
		if n := tell.Load(); n != 1 {
			t.Errorf("%s: %d tell the database, want 1", what, n)
		}
	}
	if !k.seen(admission(2), testkit.Start) {
		t.Error("what isn't kept is noted by nobody")
	}
}
