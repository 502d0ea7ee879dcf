package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// A start and each reload log every group that a panel requires and that has no accounts.
func TestGroupsWithoutAccountsAreLogged(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "sallyport.yaml")
			text := `panels:
  - url: http://panel.test
    upstream: http://127.0.0.1:9
    groups: [opss, ops]
    rules: [{path: /logs/, require: session, groups: [dev, opss]}]
`
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p := portal.Start(t, engine, "SALLYPORT_CONFIG="+file)
			p.Browser(t).Get("/healthz") // once it answers, the start has logged everything
			logged := func() []string {
				var all []string
				for line := range strings.Lines(p.Logs.String()) {
					for _, group := range []string{"opss", "ops", "dev"} {
						if strings.Contains(line, `"msg":"group `+group+` has no accounts, so it gives nobody access to http://panel.test; add one: sallyport group add `+group) && strings.Contains(line, `"level":"WARN"`) {
							all = append(all, group)
						}
					}
				}
				return all
			}
			if got := logged(); !slices.Equal(got, []string{"dev", "ops", "opss"}) {
				t.Fatalf("groups logged at the start: %q, want dev, ops, opss", got)
			}
			a := p.AddAccount(t, "ada")
			for _, err := range []error{p.Manage.Groups.Add(t.Context(), manage.CommandLine(), "ops"), p.Manage.Groups.Join(t.Context(), manage.CommandLine(), a, "ops"), p.Manage.Groups.Add(t.Context(), manage.CommandLine(), "dev")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			cfg, err := config.Load(file, []string{"SALLYPORT_DATA_DIR=" + p.Dir, "SALLYPORT_LISTEN=" + p.At})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Reload(cfg, nil); err != nil {
				t.Fatal(err)
			}
			if got := logged(); !slices.Equal(got[3:], []string{"dev", "opss"}) {
				t.Errorf("groups logged at a reload: %q, want dev, opss", got[3:])
			}
		})
	}
}
