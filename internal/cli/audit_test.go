package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestAuditShowsWhoActedAndWhy(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			cfg, err := config.Load("", environ)
			must(t, err)
			d := testkit.Open(t, cfg.DatabaseURL())
			must(t, d.Write(t.Context(), func(tx *db.Tx) error {
				e := audit.Event{At: testkit.Start, AccountID: "gone", Actor: audit.ByOperator, Kind: audit.AccountDisabled}
				if err := audit.Append(t.Context(), tx, e); err != nil {
					return err
				}
				e.ActorID, e.ClientID, e.Reason = "eve", "radio", "left <the company>"
				return audit.Append(t.Context(), tx, e)
			}))
			for _, args := range []string{"audit export", "audit list --account gone --json"} {
				code, out, errs := call(environ, "", strings.Fields(args)...)
				if code != 0 {
					t.Fatalf("%s: exit code %d, want 0, got\n%s", args, code, errs)
				}
				with := 0
				for _, one := range objects(t, out) {
					if one["event"] != "account_disabled" {
						continue
					}
					if one["actor_id"] == "eve" && one["client_id"] == "radio" && one["reason"] == "left <the company>" {
						with++
						continue
					}
					for _, field := range []string{"actor_id", "client_id", "reason"} {
						if value, ok := one[field]; ok {
							t.Errorf("%s: %s is %q in an event without it", args, field, value)
						}
					}
				}
				if with != 1 {
					t.Errorf("%s: %d events with the three fields, want one\n%s", args, with, out)
				}
			}
			_, out, _ := call(environ, "", "audit", "list", "--account", "gone")
			for _, pattern := range []string{` command line account:eve client:radio +account_disabled +done +\(left <the company>\) `, ` command line +account_disabled +done +unsealed`} {
				if n := len(regexp.MustCompile(pattern).FindAllString(out, -1)); n != 1 {
					t.Errorf("audit list has %q %d times, want once:\n%s", pattern, n, out)
				}
			}
		})
	}
}
