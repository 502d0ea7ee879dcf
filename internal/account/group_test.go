package account

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestGroups(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ada, eve := mustAdd(t, d, Account{Name: "ada"}), mustAdd(t, d, Account{Name: "eve"})
		addGroup := func(name string) error {
			return write(d, func(ctx context.Context, tx *db.Tx) error { return AddGroup(ctx, tx, name, testkit.Start) })
		}
		for _, name := range []string{"", "a b", "a,b", "a;b", "a\nb", "a@b", "a:b", "a/b", "🔐", "\xff", "a\u202eb", strings.Repeat("x", 65)} {
			if err := addGroup(name); !errors.Is(err, ErrGroupInvalid) {
				t.Errorf("AddGroup(%.20q) = %v, want ErrGroupInvalid: the name would break a list in a header", name, err)
			}
		}
		for _, name := range []string{"ops", "ops-2_x.y", "Größe", strings.Repeat("x", 64)} {
			testkit.Check(t, addGroup(name))
		}
		got := testkit.Race(8, func(int) string { return testkit.Outcome(addGroup("one")) })
		if got["ok"] != 1 || got[ErrGroupTaken.Error()] != 7 {
			t.Errorf("8 transactions add one group = %v, want one ok", got)
		}
		member := func(change func(context.Context, *db.Tx, string, string) (bool, error), group, id string) (changed bool, err error) {
			err = write(d, func(ctx context.Context, tx *db.Tx) error {
				changed, err = change(ctx, tx, group, id)
				return err
			})
			return changed, err
		}
		for _, step := range []struct {
			name    string
			change  func(context.Context, *db.Tx, string, string) (bool, error)
			group   string
			changed bool
			err     error
		}{
			{"join", Join, "ops", true, nil},
			{"join again", Join, "ops", false, nil},
			{"join a missing group", Join, "none", false, db.ErrNotFound},
			{"join another", Join, "one", true, nil},
			{"leave", Leave, "one", true, nil},
			{"leave again", Leave, "one", false, nil},
			{"leave a missing group", Leave, "none", false, nil},
			{"join a second time", Join, "one", true, nil},
		} {
			if changed, err := member(step.change, step.group, ada.ID); changed != step.changed || !errors.Is(err, step.err) {
				t.Errorf("%s: %v, %v; want %v, %v", step.name, changed, err, step.changed, step.err)
			}
		}
		groupsOf := func(id string) []string {
			names, err := GroupsOf(ctx, d.Reader(), id)
			testkit.Check(t, err)
			return names
		}
		if got, none := groupsOf(ada.ID), groupsOf(eve.ID); !slices.Equal(got, []string{"one", "ops"}) || len(none) != 0 {
			t.Errorf("groups of ada %v, want one and ops; of eve %v, want none", got, none)
		}
		removeGroup := func(name string) error {
			return write(d, func(ctx context.Context, tx *db.Tx) error { return RemoveGroup(ctx, tx, name) })
		}
		testkit.Check(t, removeGroup("ops"))
		if err := removeGroup("ops"); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("second RemoveGroup: %v, want ErrNotFound", err)
		}
		all, err := ListGroups(ctx, d.Reader())
		testkit.Check(t, err)
		slices.SortFunc(all, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
		want := []Group{{"Größe", 0}, {"one", 1}, {"ops-2_x.y", 0}, {strings.Repeat("x", 64), 0}}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got := groupsOf(ada.ID); !slices.Equal(got, []string{"one"}) {
			t.Errorf("groups of ada after ops was removed: %v, want one", got)
		}
	})
}

// Join and RemoveGroup both begin while the group exists.
func TestJoinBesideTheRemovalOfTheGroup(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ada := mustAdd(t, d, Account{Name: "ada"})
		joined := make(chan error, 1)
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error { return AddGroup(ctx, tx, "ops", testkit.Start) }))
		testkit.Check(t, write(d, func(ctx context.Context, tx *db.Tx) error {
			testkit.Check(t, RemoveGroup(ctx, tx, "ops"))
			go func() {
				joined <- write(d, func(ctx context.Context, tx *db.Tx) error {
					_, err := Join(ctx, tx, "ops", ada.ID)
					return err
				})
			}()
			if d.ServesOne() {
				return nil // SQLite runs the transactions one after the other
			}
			testkit.Until(t, "the join waits for the removal", func() (waits bool) {
				testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`, nil, &waits))
				return waits
			})
			return nil
		}))
		if err := <-joined; !errors.Is(err, db.ErrNotFound) {
			t.Errorf("Join of a group that was removed meanwhile: %v, want ErrNotFound", err)
		}
	})
}
