package db_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	command "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/disk"
)

// big is larger than SQLite's page cache, so that the change writes to the disk
// before the commit.
var big = strings.Repeat("x", 20<<20)

// Every writer of a batch that the disk loses gets an error, and no other writer
// does: without the database there is no sign-in (F1; attacks 138 and 140).
func TestWritersOfALostBatchGetAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		under := disk.Under(t, dir)
		path := filepath.Join(dir, "sallyport.db")
		d := testkit.Open(t, "sqlite:"+path)
		var within, atCommit int
		round := func(third string, harm func()) (failed bool) {
			t.Helper()
			var change error
			errs := queue(d, nil,
				func(tx *db.Tx) error { harm(); return insert(tx, "a") },
				inserts("b"),
				func(tx *db.Tx) error { change = insert(tx, third); return change },
				inserts("d"),
			)()
			under.Mend()
			stored := map[string]bool{}
			for _, name := range names(t, d.Reader()) {
				stored[name] = true
			}
			for i, name := range []string{"a", "b", third, "d"} {
				if (errs[i] == nil) != stored[name] || errs[i] != nil && !errors.Is(errs[i], db.ErrUnavailable) {
					t.Errorf("writer %d got %v; its group is stored: %v; want nil if it is, else ErrUnavailable", i, errs[i], stored[name])
				}
				failed = failed || errs[i] != nil
			}
			switch {
			case change != nil:
				within++
			case failed:
				atCommit++
			}
			after := testkit.Open(t, "sqlite:"+filepath.Join(under.PowerCut(t), "sallyport.db"))
			if got := len(names(t, after.Reader())); got != len(stored) {
				t.Errorf("after a power cut there are %d groups, want %d", got, len(stored))
			}
			testkit.Check(t, after.Close())
			mustExec(t, d, `DELETE FROM groups`)
			return failed
		}
		for _, third := range []string{"c", big} {
			for n := 1; round(third, func() { under.FailAt(n) }); n += 1 + n/4 {
			}
			round(third, under.Fill)
			round(third, under.Protect)
		}
		if within < 3 || atCommit < 3 {
			t.Errorf("%d batches failed within a change and %d at the commit, want at least 3 each", within, atCommit)
		}
	})
}

// killedVariable is the environment variable with the database's URL for the
// process that the test kills.
const killedVariable = "SALLYPORT_TEST_KILLED"

// A confirmed write survives the death of the process (F11, attack 136).
func TestConfirmedWritesSurviveAKill(t *testing.T) {
	if rawURL := os.Getenv(killedVariable); rawURL != "" {
		writeUntilKilled(t, rawURL)
		return
	}
	t.Parallel()
	rawURL := testkit.DatabaseURL(t, "sqlite")
	d := testkit.Open(t, rawURL)
	var confirmed []string
	for round := range 5 {
		cmd := command.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), killedVariable+"="+rawURL)
		out, err := cmd.StdoutPipe()
		testkit.Check(t, err)
		testkit.Check(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 100*(round+1) {
				testkit.Check(t, cmd.Process.Kill())
			}
			if name, ok := strings.CutPrefix(lines.Text(), "done "); ok && strings.HasSuffix(name, ".") {
				confirmed = append(confirmed, name)
			}
		}
		cmd.Wait() // returns an error, since the process was killed
		stored := names(t, d.Reader())
		for _, name := range confirmed {
			if _, found := slices.BinarySearch(stored, name); !found {
				t.Fatalf("round %d: the write of %q was confirmed, but is lost", round, name)
			}
		}
	}
	if len(confirmed) < 1000 {
		t.Errorf("%d writes were confirmed, want at least 1000", len(confirmed))
	}
	wantEqual(t, "integrity check", column(t, d, `PRAGMA integrity_check`), "ok")
}

// writeUntilKilled adds groups and prints the name of each once it is stored.
func writeUntilKilled(t *testing.T, rawURL string) {
	d := testkit.Open(t, rawURL)
	testkit.Race(64, func(i int) string {
		for n := 0; ; n++ {
			name := fmt.Sprintf("%d-%d-%d.", os.Getpid(), i, n)
			if err := d.Write(context.Background(), inserts(name)); err != nil {
				panic(err)
			}
			fmt.Println("done " + name)
		}
	})
}
