package audit

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// log12 is the log of a program of version 12. The file has the rows of its three tables, with
// binary values as "hex:…", and the key ring.
type log12 struct {
	Ring        string
	Last        Head // the newest head in the server's log
	Events      [][]any
	Head        [][]any
	Checkpoints [][]any
}

func (l log12) store(t *testing.T, d *sql.DB) {
	t.Helper()
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := d.Exec(statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	insert := func(table string, columns int, rows [][]any, into string) {
		t.Helper()
		for _, row := range rows {
			args, places := make([]any, columns), make([]string, columns)
			for i, value := range row {
				args[i], places[i] = value, fmt.Sprint("$", i+1)
				if n, ok := value.(float64); ok {
					args[i] = int64(n)
				}
				if text, ok := value.(string); ok && strings.HasPrefix(text, "hex:") {
					mac, err := hex.DecodeString(text[len("hex:"):])
					testkit.Check(t, err)
					args[i] = mac
				}
			}
			exec(`INSERT INTO `+table+` (`+into+`) VALUES (`+strings.Join(places, ", ")+`)`, args...)
		}
	}
	exec(`DELETE FROM audit_head`)
	insert("audit_head", 2, l.Head, "seq, mac")
	insert("events", 13, l.Events, "id, at, account_id, actor, kind, outcome, detail, number, address, browser, authenticator_id, seq, mac")
	insert("audit_checkpoints", 5, l.Checkpoints, "seq, head, events, made_at, mac")
}

// The log was pruned, its keys were rotated, and two events aren't sealed yet.
func TestLogOfVersion12Verifies(t *testing.T) {
	text, err := os.ReadFile("testdata/version12.json")
	testkit.Check(t, err)
	var log log12
	testkit.Check(t, json.Unmarshal(text, &log))
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keyring")
			testkit.Check(t, os.WriteFile(path, []byte(log.Ring), 0o600))
			ring, err := secret.ReadRing(path)
			testkit.Check(t, err)
			d := testkit.Open(t, testkit.OldDatabase(t, engine, 12, func(d *sql.DB) { log.store(t, d) }))
			report, err := Verify(t.Context(), d.Reader(), ring, log.Last)
			if err != nil || report.Events < 10 || report.Pruned.Seq == 0 {
				t.Fatalf("after the migration Verify returns %+v, %v; want at least 10 events, and some pruned", report, err)
			}
			if len(ring.Handovers()) == 0 {
				t.Error("the old log has no key rotation")
			}
			sealed := report.Events
			addBoth(t, d, testkit.Start.Add(24*time.Hour), 5)
			head := sealAll(t, d, ring)
			if report, err := Verify(t.Context(), d.Reader(), ring, log.Last); err != nil || report.Events != sealed+2+5 || !report.Head.Equal(head) {
				t.Errorf("with newer events Verify returns %+v, %v; want %d events", report, err, sealed+7)
			}
			exec(t, d, `UPDATE events SET reason = 'x', sealed_form = 2 WHERE seq = `+fmt.Sprint(log.Last.Seq))
			var fault *Fault
			if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); !errors.As(err, &fault) || fault.Kind != Changed || fault.Seq != log.Last.Seq {
				t.Errorf("an old event got a reason: %v, want that event %d was changed", err, log.Last.Seq)
			}
		})
	}
}

// A program that is too old for the database might not know every field that must be signed, so it
// seals nothing.
func TestTooOldProgramSealsNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		add(t, d, testkit.Start, 2)
		r.add(t)
		exec(t, d, `UPDATE schema SET version = version + 1, usable_since = version + 1`)
		for what, do := range map[string]func() error{
			"Seal": func() error { _, _, err := Seal(t.Context(), d, r.copied(t)); return err },
			"HandOver": func() error {
				_, err := HandOver(t.Context(), d, r.copied(t), appending(t.Context(), Event{At: testkit.Start}))
				return err
			},
		} {
			if err := do(); !errors.Is(err, db.ErrTooOld) {
				t.Errorf("%s: %v, want ErrTooOld", what, err)
			}
		}
		for _, e := range all(t, d) {
			if e.Seq != 0 {
				t.Errorf("event %s was sealed, want none sealed", e.ID)
			}
		}
	})
}
