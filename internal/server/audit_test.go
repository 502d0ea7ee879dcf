package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAuditIsKeptAsLongAsTheConfigurationSays(t *testing.T) {
	for _, test := range []struct {
		keep   string
		pruned int64
	}{{"2d", 2}, {"0", 0}} {
		for _, engine := range testkit.Engines {
			t.Run(test.keep+"/"+engine, func(t *testing.T) {
				t.Parallel()
				p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP="+test.keep)
				seal := func() {
					if err := p.Seal(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				p.AddAccount(t, "ada")
				p.AddAccount(t, "bob")
				seal()
				p.Clock.Move(47 * time.Hour)
				p.AddAccount(t, "eve")
				seal()
				p.Clock.Move(2 * time.Hour)
				if err := p.Prune(t.Context()); err != nil {
					t.Fatal(err)
				}
				report, err := audit.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, audit.Head{})
				if err != nil || report.Pruned.Seq != test.pruned || report.Events != 3-test.pruned {
					t.Errorf("verify: %+v, %v", report, err)
				}
				if !strings.Contains(p.Logs.String(), report.Head.String()) {
					t.Error("the head is not in the server's log")
				}
			})
		}
	}
}
