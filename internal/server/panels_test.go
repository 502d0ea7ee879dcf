package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// load reads a configuration file with this text.
func load(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, nil)
}

func TestRulesInheritWhatTheyDoNotName(t *testing.T) {
	cfg, err := load(t, `public_url: https://auth.example.com
panels:
  - url: https://panel.example.com
    upstream: http://127.0.0.1:8082
    require: two_factor
    max_age: 8h
    groups: [ops]
    rules:
      - {path: /status/, require: nothing}
      - {path: /read/, require: session}
      - {path: /admin/, require: two_factor, max_age: 10m}
      - {path: /logs, require: session, groups: [dev, qa]}
  - url: https://logs.example.org:8443
    rules:
      - {path: /admin/, require: two_factor, max_age: 1m, groups: [ops]}
`)
	if err != nil {
		t.Fatal(err)
	}
	ops, eight := []string{"ops"}, 8*time.Hour
	all, err := Panels(cfg)
	if err != nil || len(all) != 2 {
		t.Fatalf("panels: %v, %v; want 2", all, err)
	}
	for _, test := range []struct {
		panel int
		path  string
		want  access.Demand
	}{
		{0, "/", access.Demand{Requirement: access.TwoFactor, Groups: ops, MaxAge: eight}},
		{0, "/status/x", access.Demand{Requirement: access.Public}},
		{0, "/read/x", access.Demand{Requirement: access.Session, Groups: ops, MaxAge: eight}},
		{0, "/admin/x", access.Demand{Requirement: access.TwoFactor, Groups: ops, MaxAge: 10 * time.Minute}},
		{0, "/logs", access.Demand{Requirement: access.Session, Groups: []string{"dev", "qa"}, MaxAge: eight}},
		{1, "/", access.Demand{Requirement: access.Session}},
		{1, "/admin/x", access.Demand{Requirement: access.TwoFactor, Groups: ops, MaxAge: time.Minute}},
	} {
		got, ok := all[test.panel].DemandOf(test.path)
		if diff := cmp.Diff(test.want, got); !ok || diff != "" {
			t.Errorf("panel %d, %s: %v (-want +got):\n%s", test.panel, test.path, ok, diff)
		}
	}
	if all[0].Origin != "https://panel.example.com" || all[1].Origin != "https://logs.example.org:8443" {
		t.Errorf("origins %s, %s; want those of the configuration", all[0].Origin, all[1].Origin)
	}
	if got, err := upstreams(cfg); err != nil || got[0].to.String() != "http://127.0.0.1:8082" || got[1].to != nil {
		t.Errorf("upstreams %v, %v; want one for the first panel only", got, err)
	}
}

// A configuration that wasn't validated admits no one.
func TestUnknownRequirementAdmitsNobody(t *testing.T) {
	got, err := Panels(config.Config{Panels: []config.Panel{{Require: "Nothing", Rules: []config.Rule{{Path: "/x/", Require: "Nothing"}}}}})
	if err != nil || len(got) != 1 || got[0].Demand.Requirement != access.Closed {
		t.Fatalf("an unknown requirement: %+v, %v; want access.Closed", got, err)
	}
	if d, _ := got[0].DemandOf("/x/y"); d.Requirement != access.Closed {
		t.Errorf("an unknown requirement of a rule demands %+v, want access.Closed", d)
	}
	if got, err := Panels(config.Default()); got != nil || err != nil {
		t.Errorf("panels of the default configuration: %+v, %v; want none", got, err)
	}
}

// config and account accept the same group names.
func TestPanelsMayNameExactlyTheGroupsThatCanExist(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		for _, name := range []string{
			"ops", "ops-2_x.y", "Größe", "٣", strings.Repeat("ä", 64),
			"", "a b", "a,b", "a;b", "a\nb", "a@b", "a:b", "a/b", "🔐", "a\u202eb", "a\u0308", "Ⅷ", strings.Repeat("x", 65),
		} {
			_, declared := load(t, fmt.Sprintf("public_url: https://auth.example.com\npanels:\n  - url: https://panel.example.com\n    groups: [%q]\n", name))
			added := d.Write(context.Background(), func(tx *db.Tx) error {
				return account.AddGroup(context.Background(), tx, name, testkit.Start)
			})
			if (declared == nil) != (added == nil) {
				t.Errorf("group %q: error of config %v, of account %v; want both to accept it, or both to refuse it", name, declared, added)
			}
		}
	})
}
