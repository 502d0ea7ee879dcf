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

// big is more than SQLite keeps in memory, so that a change writes to the disk
// before its commit does.
var big = strings.Repeat("x", 4<<20)

func TestNobodyIsToldOfABatchThatTheDiskLost(t *testing.T) {
	// F1, ATTACKS 138 and 140.
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
			told := queue(d, nil,
				func(tx *db.Tx) error { harm(); return insert(tx, "a") },
				inserts("b"),
				func(tx *db.Tx) error { change = insert(tx, third); return change },
				inserts("d"),
			)()
			under.Mend()
			there := map[string]bool{}
			for _, name := range names(t, d.Reader()) {
				there[name] = true
			}
			for i, name := range []string{"a", "b", third, "d"} {
				if (told[i] == nil) != there[name] || told[i] != nil && !errors.Is(told[i], db.ErrUnavailable) {
					t.Errorf("writer %d was told %v; it is there: %v", i, told[i], there[name])
				}
				failed = failed || told[i] != nil
			}
			switch {
			case change != nil:
				within++
			case failed:
				atCommit++
			}
			after := testkit.Open(t, "sqlite:"+filepath.Join(under.PowerCut(t), "sallyport.db"))
			if got := len(names(t, after.Reader())); got != len(there) {
				t.Errorf("after a power cut %d groups, want %d", got, len(there))
			}
			must(t, after.Close())
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
			t.Errorf("%d failed within a change, %d at the commit, want 3 each", within, atCommit)
		}
	})
}

// killedVariable holds the database of a process that is to be killed.
const killedVariable = "SALLYPORT_TEST_KILLED"

func TestKilledWritersDidWhatTheyTold(t *testing.T) {
	// F11, ATTACKS 136.
	if rawURL := os.Getenv(killedVariable); rawURL != "" {
		writeUntilKilled(t, rawURL)
		return
	}
	t.Parallel()
	rawURL := testkit.DatabaseURL(t, "sqlite")
	d := testkit.Open(t, rawURL)
	var told []string
	for round := range 5 {
		cmd := command.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), killedVariable+"="+rawURL)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 100*(round+1) {
				must(t, cmd.Process.Kill())
			}
			if name, ok := strings.CutPrefix(lines.Text(), "done "); ok && strings.HasSuffix(name, ".") {
				told = append(told, name)
			}
		}
		cmd.Wait() // it was killed
		there := names(t, d.Reader())
		for _, name := range told {
			if _, found := slices.BinarySearch(there, name); !found {
				t.Fatalf("round %d: %q was done, and is gone", round, name)
			}
		}
	}
	if len(told) < 1000 {
		t.Errorf("%d were told, want 1000 at least", len(told))
	}
	same(t, "integrity check", column(t, d, `PRAGMA integrity_check`), "ok")
}

// writeUntilKilled prints the name of each group once it is answered.
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
