package disk_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/sallyport/sallyport/internal/testkit/disk"
)

// open opens a database with one table in dir, as db.Open does, but with the given synchronous
// setting.
func open(t *testing.T, dir, synchronous string) *sql.DB {
	t.Helper()
	d, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "test.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous("+synchronous+")")
	if err != nil {
		t.Fatal(err)
	}
	d.SetMaxOpenConns(1)
	t.Cleanup(func() { d.Close() })
	if _, err := d.Exec(`CREATE TABLE IF NOT EXISTS numbers (n BIGINT)`); err != nil {
		t.Fatal(err)
	}
	return d
}

func count(t *testing.T, d *sql.DB) (n int) {
	t.Helper()
	var check string
	if err := d.QueryRow(`PRAGMA integrity_check`).Scan(&check); err != nil || check != "ok" {
		t.Fatalf("integrity check: %q, %v, want ok", check, err)
	}
	if err := d.QueryRow(`SELECT COUNT(*) FROM numbers`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const insert = `INSERT INTO numbers (n) VALUES (1)`

func TestPowerCutLosesWhatIsNotSynced(t *testing.T) {
	for _, test := range []struct {
		synchronous string
		want        int
	}{{"FULL", 20}, {"OFF", 0}} {
		t.Run(test.synchronous, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			under := disk.Under(t, dir)
			d := open(t, dir, "FULL") // the table must survive in both cases
			if _, err := d.Exec(`PRAGMA synchronous = ` + test.synchronous); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if _, err := d.Exec(insert); err != nil {
					t.Fatal(err)
				}
			}
			if got := count(t, open(t, under.PowerCut(t), "FULL")); got != test.want {
				t.Errorf("%d rows after the power cut, want %d", got, test.want)
			}
			// Rows that a checkpoint moved to the database file survive too.
			if _, err := d.Exec(`PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
				t.Fatal(err)
			}
			if got := count(t, open(t, under.PowerCut(t), "FULL")); got != 20 {
				t.Errorf("%d rows after a checkpoint and a power cut, want 20", got)
			}
		})
	}
}

func TestEveryWriteCanFail(t *testing.T) {
	dir := t.TempDir()
	under := disk.Under(t, dir)
	d := open(t, dir, "FULL")
	want := 0
	for n := 1; ; n++ {
		under.FailAt(n)
		if _, err := d.Exec(insert); err == nil {
			want++
		}
		if !under.Failed() {
			if n < 4 {
				t.Errorf("one insert made %d writes, want at least 3, so that each can fail", n-1)
			}
			break
		}
		if _, err := d.Exec(insert); err != nil { // only the n-th write fails
			t.Fatal(err)
		}
		want++
	}
	if got := count(t, d); got != want {
		t.Errorf("%d rows, want %d, the number of inserts without an error", got, want)
	}
}

func TestDiskIsFullOrReadOnlyUntilMended(t *testing.T) {
	for name, harm := range map[string]func(*disk.Disk){"full": (*disk.Disk).Fill, "read-only": (*disk.Disk).Protect} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, other := t.TempDir(), t.TempDir()
			under := disk.Under(t, dir)
			d, elsewhere := open(t, dir, "FULL"), open(t, other, "FULL")
			harm(under)
			for range 3 {
				if _, err := d.Exec(insert); err == nil {
					t.Error("an insert on the faulty disk succeeded, want an error")
				}
			}
			if _, err := elsewhere.Exec(insert); err != nil {
				t.Errorf("an insert on another disk: %v, want no error", err)
			}
			under.Mend()
			if _, err := d.Exec(insert); err != nil {
				t.Errorf("an insert on the mended disk: %v, want no error", err)
			}
			if got := count(t, d); got != 1 {
				t.Errorf("%d rows after one insert without an error, want 1", got)
			}
		})
	}
}
