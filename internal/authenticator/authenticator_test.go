package authenticator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

const adasSession = "ada's session"

// fixture is a database with the accounts of ada and eve.
type fixture struct {
	t        *testing.T
	d        *db.DB
	ada, eve string
}

// each runs test with a fixture on each database engine.
func each(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Helper()
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		f := fixture{t: t, d: d}
		f.do(func(ctx context.Context, tx *db.Tx) error {
			for name, id := range map[string]*string{"ada": &f.ada, "eve": &f.eve} {
				a, err := account.Create(ctx, tx, account.Account{Name: name}, testkit.Start)
				if err != nil {
					return err
				}
				*id = a.ID
			}
			return nil
		})
		test(t, f)
	})
}

func (f fixture) write(change func(ctx context.Context, tx *db.Tx) error) error {
	ctx := context.Background()
	return f.d.Write(ctx, func(tx *db.Tx) error { return change(ctx, tx) })
}

func (f fixture) do(change func(ctx context.Context, tx *db.Tx) error) {
	f.t.Helper()
	if err := f.write(change); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) pending(owner, session string, now time.Time) Authenticator {
	f.t.Helper()
	var a Authenticator
	f.do(func(ctx context.Context, tx *db.Tx) (err error) {
		a, err = CreatePending(ctx, tx, owner, session, TOTP, now)
		return err
	})
	return a
}

func (f fixture) confirm(session string, a Authenticator, name string, now time.Time) error {
	return f.write(func(ctx context.Context, tx *db.Tx) error {
		if err := account.Lock(ctx, tx, a.AccountID); err != nil {
			return err
		}
		a.Name = name
		return Confirm(ctx, tx, session, a, now)
	})
}

func (f fixture) confirmed(owner, session, name string, now time.Time) Authenticator {
	f.t.Helper()
	a := f.pending(owner, session, now)
	if err := f.confirm(session, a, name, now); err != nil {
		f.t.Fatal(err)
	}
	a.Name, a.ConfirmedAt = name, now
	return a
}

func (f fixture) list(owner string) []Authenticator {
	f.t.Helper()
	all, err := List(context.Background(), f.d.Reader(), owner)
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// isPending reports whether the session can read the pending enrolment.
func (f fixture) isPending(session, id string, now time.Time) bool {
	f.t.Helper()
	_, err := Pending(context.Background(), f.d.Reader(), session, id, now)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		f.t.Fatal(err)
	}
	return err == nil
}

func TestPendingEnrolmentBelongsToItsSessionForAWhile(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		a := f.pending(f.ada, adasSession, testkit.Start)
		for _, test := range []struct {
			name, session, id string
			after             time.Duration
			want              bool
		}{
			{"at once", adasSession, a.ID, 0, true},
			{"a moment before 15 min", adasSession, a.ID, PendingLife - time.Millisecond, true},
			{"after 15 min", adasSession, a.ID, PendingLife, false},
			{"another session (R28)", "ada's other session", a.ID, 0, false},
			{"no session", "", a.ID, 0, false},
			{"unknown id", adasSession, "no-such-id", 0, false},
		} {
			if got := f.isPending(test.session, test.id, testkit.Start.Add(test.after)); got != test.want {
				t.Errorf("%s: pending %v, want %v", test.name, got, test.want)
			}
		}
		if PendingLife != 15*time.Minute {
			t.Errorf("PendingLife = %v, want 15 min", PendingLife)
		}
		// A pending enrolment is no authenticator yet.
		if got := f.list(f.ada); len(got) != 0 {
			t.Errorf("List before the confirmation = %v, want none", got)
		}
		if _, err := ByID(context.Background(), f.d.Reader(), f.ada, a.ID); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("ByID of a pending enrolment: %v, want ErrNotFound", err)
		}
		for name, change := range map[string]func(ctx context.Context, tx *db.Tx) error{
			"Rename": func(ctx context.Context, tx *db.Tx) error { return Rename(ctx, tx, f.ada, a.ID, "x") },
			"Remove": func(ctx context.Context, tx *db.Tx) error { return Remove(ctx, tx, f.ada, a.ID) },
			"Cancel": func(ctx context.Context, tx *db.Tx) error { return Cancel(ctx, tx, "ada's other session", a.ID) },
		} {
			if err := f.write(change); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s of a pending enrolment: %v, want ErrNotFound", name, err)
			}
		}
	})
}

func TestConfirmEndsAnEnrolmentOnce(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		a := f.pending(f.ada, adasSession, testkit.Start)
		if err := f.confirm("eve's session", a, "Phone", testkit.Start); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("confirmed by another session: %v, want ErrNotFound", err)
		}
		got := testkit.Race(16, func(int) string {
			return testkit.Outcome(f.confirm(adasSession, a, "Phone", testkit.Start.Add(time.Minute)))
		})
		if got["ok"] != 1 || len(got) != 2 {
			t.Errorf("16 callers confirm one enrolment = %v, want one ok", got)
		}
		want := []Authenticator{{ID: a.ID, AccountID: f.ada, Kind: TOTP, Name: "Phone", CreatedAt: testkit.Start, ConfirmedAt: testkit.Start.Add(time.Minute)}}
		if diff := cmp.Diff(want, f.list(f.ada)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if f.isPending(adasSession, a.ID, testkit.Start) {
			t.Error("the session can still read the secret of a confirmed authenticator")
		}
		if err := f.write(func(ctx context.Context, tx *db.Tx) error { return Cancel(ctx, tx, adasSession, a.ID) }); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("Cancel of a confirmed authenticator: %v, want ErrNotFound", err)
		}
	})
}

func TestAccountHasFivePhonesAtMost(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		pending := make([]Authenticator, MaxTOTP+3)
		sessions := make([]string, len(pending))
		for i := range pending {
			sessions[i] = adasSession + strings.Repeat("'", i)
			pending[i] = f.pending(f.ada, sessions[i], testkit.Start)
		}
		got := testkit.Race(len(pending), func(i int) string {
			return testkit.Outcome(f.confirm(sessions[i], pending[i], "Phone", testkit.Start))
		})
		if MaxTOTP != 5 || got["ok"] != 5 || got[ErrLimit.Error()] != 3 || len(f.list(f.ada)) != 5 {
			t.Errorf("8 confirmed at once = %v, %d stored; want 5 ok and 3 ErrLimit", got, len(f.list(f.ada)))
		}
		f.confirmed(f.eve, "eve's session", "Phone", testkit.Start) // the limit is per account
		f.do(func(ctx context.Context, tx *db.Tx) error { return Remove(ctx, tx, f.ada, f.list(f.ada)[0].ID) })
		f.confirmed(f.ada, "one more", "Phone", testkit.Start)
	})
}

func TestSessionHasFiveWizardsAtMost(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		other := f.pending(f.ada, "ada's other session", testkit.Start)
		confirmed := f.confirmed(f.ada, adasSession, "Phone", testkit.Start)
		var ids []string
		for i := range 8 {
			ids = append(ids, f.pending(f.ada, adasSession, testkit.Start.Add(time.Duration(i)*time.Second)).ID)
		}
		for i, id := range ids {
			if got, want := f.isPending(adasSession, id, testkit.Start), i >= 3; got != want {
				t.Errorf("enrolment %d of 8: pending %v, want %v", i+1, got, want)
			}
		}
		if !f.isPending("ada's other session", other.ID, testkit.Start) || len(f.list(f.ada)) != 1 || f.list(f.ada)[0].ID != confirmed.ID {
			t.Error("the limit removed an enrolment of another session, or a confirmed authenticator")
		}
	})
}

func TestOwnersChangeOnlyTheirOwn(t *testing.T) {
	// Attack 63.
	each(t, func(t *testing.T, f fixture) {
		ctx := context.Background()
		a := f.confirmed(f.ada, adasSession, "Phone", testkit.Start)
		if _, err := ByID(ctx, f.d.Reader(), f.eve, a.ID); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("eve reads ada's authenticator: %v, want ErrNotFound", err)
		}
		for name, change := range map[string]func(ctx context.Context, tx *db.Tx) error{
			"Rename": func(ctx context.Context, tx *db.Tx) error { return Rename(ctx, tx, f.eve, a.ID, "mine") },
			"Remove": func(ctx context.Context, tx *db.Tx) error { return Remove(ctx, tx, f.eve, a.ID) },
		} {
			if err := f.write(change); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s by eve: %v, want ErrNotFound", name, err)
			}
		}
		f.do(func(ctx context.Context, tx *db.Tx) error { return RemoveAll(ctx, tx, f.eve) })
		if got, err := ByID(ctx, f.d.Reader(), f.ada, a.ID); err != nil || got != a {
			t.Errorf("ada's authenticator = %+v, %v; want %+v", got, err, a)
		}
		f.do(func(ctx context.Context, tx *db.Tx) error { return Rename(ctx, tx, f.ada, a.ID, "Tablet") })
		a.Name = "Tablet"
		if got, err := ByID(ctx, f.d.Reader(), f.ada, a.ID); err != nil || got != a {
			t.Errorf("ada's authenticator = %+v, %v; want %+v", got, err, a)
		}
		f.do(func(ctx context.Context, tx *db.Tx) error { return Remove(ctx, tx, f.ada, a.ID) })
		if got := f.list(f.ada); len(got) != 0 {
			t.Errorf("List after Remove = %v, want none", got)
		}
	})
}

func TestPendingEnrolmentsEnd(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		confirmed := f.confirmed(f.ada, adasSession, "Phone", testkit.Start)
		mine, others, eves := f.pending(f.ada, adasSession, testkit.Start), f.pending(f.ada, "other", testkit.Start), f.pending(f.eve, "eve's", testkit.Start)
		f.do(func(ctx context.Context, tx *db.Tx) error { return RemovePending(ctx, tx, f.ada, adasSession) })
		if !f.isPending(adasSession, mine.ID, testkit.Start) || f.isPending("other", others.ID, testkit.Start) || !f.isPending("eve's", eves.ID, testkit.Start) {
			t.Error("RemovePending removed the wrong rows; want all of the account's but those of the excepted session, and none of other accounts")
		}
		f.do(func(ctx context.Context, tx *db.Tx) error { return RemovePending(ctx, tx, f.ada, "") })
		if f.isPending(adasSession, mine.ID, testkit.Start) {
			t.Error("RemovePending without an exception spared an enrolment")
		}
		again := f.pending(f.ada, adasSession, testkit.Start)
		f.do(func(ctx context.Context, tx *db.Tx) error { return Cancel(ctx, tx, adasSession, again.ID) })
		if f.isPending(adasSession, again.ID, testkit.Start) {
			t.Error("still pending after Cancel")
		}
		young := f.pending(f.ada, adasSession, testkit.Start.Add(time.Millisecond))
		f.do(func(ctx context.Context, tx *db.Tx) error {
			return ExpirePending(ctx, tx, testkit.Start.Add(PendingLife))
		})
		// Read them as of the start, so that their age doesn't matter.
		if f.isPending("eve's", eves.ID, testkit.Start) || !f.isPending(adasSession, young.ID, testkit.Start) {
			t.Error("ExpirePending didn't delete exactly the expired enrolments")
		}
		if got := f.list(f.ada); !slices.Equal(got, []Authenticator{confirmed}) {
			t.Errorf("confirmed authenticators = %v, want them unchanged", got)
		}
		f.do(func(ctx context.Context, tx *db.Tx) error { return RemoveAll(ctx, tx, f.ada) })
		if f.isPending(adasSession, young.ID, testkit.Start) || len(f.list(f.ada)) != 0 {
			t.Error("RemoveAll left an authenticator")
		}
	})
}

func TestUnknownKindIsDenied(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		ctx := context.Background()
		a := f.confirmed(f.ada, adasSession, "Phone", testkit.Start)
		become := func(kind Kind) {
			f.do(func(ctx context.Context, tx *db.Tx) error {
				_, err := db.Exec(ctx, tx, `UPDATE authenticators SET kind = $1`, string(kind))
				return err
			})
		}
		// If List left out an authenticator, the account would seem to have no second factor (F3, F4). A
		// password, a backup code or a passkey is no row of this table.
		for _, kind := range []Kind{"smartcard", "", "TOTP", Password, BackupCode, Passkey} {
			become(kind)
			if got, err := List(ctx, f.d.Reader(), f.ada); err == nil {
				t.Errorf("List of kind %q = %v, want an error", kind, got)
			}
			if got, err := ByID(ctx, f.d.Reader(), f.ada, a.ID); err == nil || errors.Is(err, db.ErrNotFound) {
				t.Errorf("ByID of kind %q = %v, %v; want an error", kind, got, err)
			}
		}
		// A later version adds such rows. They are a second factor of the account.
		become(WebAuthn)
		if got := f.list(f.ada); len(got) != 1 || got[0].Kind != WebAuthn {
			t.Errorf("List of a WebAuthn authenticator = %v, want it alone", got)
		}
	})
}

func TestListIsOldestFirst(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		var want []string
		for i, name := range []string{"c", "a", "b"} {
			f.confirmed(f.ada, adasSession, name, testkit.Start.Add(time.Duration(i)*time.Minute))
			want = append(want, name)
		}
		var got []string
		for _, a := range f.list(f.ada) {
			got = append(got, a.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}

func TestNamesOfAuthenticators(t *testing.T) {
	for in, want := range map[string]string{ // "" if invalid
		"Phone": "Phone", "  Ada's phone  ": "Ada's phone", "📱": "📱", "Handy von Jürgen": "Handy von Jürgen", "e\u0301": "é", "手机": "手机", "<b>&": "<b>&",
		strings.Repeat("é", 40): strings.Repeat("é", 40), "e\u0301" + strings.Repeat("x", 39): "é" + strings.Repeat("x", 39),
		"": "", " ": "", "\t\n": "", strings.Repeat("x", 41): "", "a\nb": "", "a\tb": "", "a\x00b": "", "a\x1b[31m": "", "\xff": "", "a\u202eb": "", "a\u200bb": "", "a\u2028b": "", "a\u00a0b": "", strings.Repeat("x", 1<<20): "",
	} {
		got, err := NormalizeName(in)
		if want != "" && (err != nil || got != want) || want == "" && (!errors.Is(err, ErrNameInvalid) || got != "") {
			t.Errorf("NormalizeName(%.30q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzNormalizeName(f *testing.F) {
	for _, seed := range []string{"Phone", " e\u0301 ", "a\u202eb", "\u0300x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, err := NormalizeName(in)
		if err != nil {
			return
		}
		if again, err := NormalizeName(name); err != nil || again != name {
			t.Fatalf("NormalizeName(%q) = %q, and NormalizeName of that = %q, %v; want it unchanged", in, name, again, err)
		}
	})
}
