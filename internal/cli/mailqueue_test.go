package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestMailQueue(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			run := func(want int, args ...string) string {
				t.Helper()
				code, out, errs := call(environ, "a long password of ada\n", append([]string{"mail", "queue"}, args...)...)
				if code != want {
					t.Fatalf("%v: %d, want %d\n%s%s", args, code, want, out, errs)
				}
				return out + errs
			}
			if code, _, errs := call(environ, "a long password of ada\n", "account", "add", "ada", "--password-stdin"); code != 0 {
				t.Fatal(errs)
			}
			if got := run(0, "list"); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "ID ") {
				t.Errorf("an empty queue (want the heading only):\n%s", got)
			}
			cfg, err := config.Load("", environ)
			testkit.Check(t, err)
			ring, err := secret.ReadRing(cfg.KeyRingPath())
			testkit.Check(t, err)
			d := testkit.Open(t, cfg.DatabaseURL())
			testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
				var ada string
				testkit.Check(t, db.One(t.Context(), tx, `SELECT id FROM accounts`, nil, &ada))
				testkit.Check(t, outbox.Add(t.Context(), tx, ring, outbox.Message{Kind: outbox.Mail, AccountID: ada, Topic: "password_set", Body: []byte("canary")}, testkit.Start))
				_, err := db.Exec(t.Context(), tx, `UPDATE outbox SET tries = 2, due_at = 9999999999999, last_error = 'no route'`)
				return err
			}))
			if got := run(0, "list"); strings.Contains(got, "refused") {
				t.Errorf("an address that nothing is known of is refused:\n%s", got)
			}
			testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := db.Exec(t.Context(), tx, `UPDATE accounts SET email = 'Ada@example.com', email_folded = 'ada@example.com', refused_email = 'ada@example.com', email_refused_at = 1000`)
				return err
			}))
			for command, want := range map[string]string{
				"mail queue list": "ada (refused)", "mail queue list --json": `"refused":true`, "account list": "Ada@example.com (refused)", "account list --json": `"email_state":"refused"`,
				"account show ada": "Ada@example.com, refused by the mail server 1970-01-01T00:00:01Z", "account show ada --json": `"email_refused_at":"1970-01-01T00:00:01Z"`,
			} {
				if code, out, _ := call(environ, "", strings.Fields(command)...); code != 0 || !strings.Contains(out, want) {
					t.Errorf("%s: %d, want %q in\n%s", command, code, want, out)
				}
			}
			listed := run(0, "list", "--json")
			var m queuedMessage
			if err := json.Unmarshal([]byte(listed), &m); err != nil || m.Account != "ada" || m.Topic != "password_set" || m.Tries != 2 || m.LastError != "no route" || strings.Contains(listed, "canary") {
				t.Errorf("%v; want ada's message with its tries and its last error\n%s", err, listed)
			}
			if got := run(0, "list"); !strings.Contains(got, "no route") || !strings.Contains(got, m.ID) {
				t.Errorf("list (want the message and its error):\n%s", got)
			}
			if got := run(1, "retry", "unknown"); !strings.Contains(got, "mail queue list") {
				t.Errorf("retry of an unknown message: %s, want \"mail queue list\"", got)
			}
			if got := run(0, "retry"); !strings.Contains(got, "try 1 message again") {
				t.Errorf("retry: %s, want that 1 message is tried again", got)
			}
			if got := run(0, "drop", m.ID); !strings.Contains(got, m.ID+" was deleted unsent") {
				t.Errorf("drop: %s, want that it was deleted unsent", got)
			}
			if got := run(1, "drop", m.ID); !strings.Contains(got, "there is no message") {
				t.Errorf("drop of a gone message: %s, want \"there is no message\"", got)
			}
			_, events, _ := call(environ, "", "audit", "export")
			for _, want := range []string{`"event":"messages_retried"`, `"event":"mail_dropped"`} {
				if !strings.Contains(events, want) {
					t.Errorf("no event %s in\n%s", want, events)
				}
			}
		})
	}
}
