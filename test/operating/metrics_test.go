package operating

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestMetricsCountSignIns(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, address := portal.StartMeasured(t, engine)
			p.AddAccount(t, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			phone := b.Enroll("phone")
			for range 2 { // the second one is refused, since it comes too early
				b.Post("/login", "username", "ada", "password", "wrong")
			}
			b = p.Browser(t)
			b.SignIn("ada")
			b.Post("/login/code", "code", phone.Code(-3*60*1e9))
			b.Post("/login/code", "code", phone.Code(0))
			b = p.Browser(t)
			b.SignIn("ada")
			b.Post("/login/backup-code", "backup_code", phone.Codes[0])
			b = p.Browser(t)
			for range 7 {
				b.Post("/login", "username", "eve", "password", "wrong")
			}

			got := portal.Scrape(t, address)
			for _, want := range []string{
				`sallyport_sign_ins_total{outcome="accepted"} 3`,
				`sallyport_sign_ins_total{outcome="rejected"} 7`,
				`sallyport_sign_ins_total{outcome="refused"} 2`,
				`sallyport_second_factors_total{kind="totp",outcome="accepted"} 1`,
				`sallyport_second_factors_total{kind="totp",outcome="rejected"} 1`,
				`sallyport_second_factors_total{kind="backup_code",outcome="accepted"} 1`,
				`sallyport_refusals_total{bucket="password"} 2`,
				`sallyport_hashing_queue_length 0`,
				`sallyport_hashing_wait_seconds_count`,
				`sallyport_http_request_duration_seconds_count{route="POST /login/code",status="303"} 1`,
				`go_build_info{`,
			} {
				if !strings.Contains(got, want) {
					t.Errorf("the metrics don't have %s", want)
				}
			}
			if t.Failed() {
				for line := range strings.Lines(got) {
					if strings.HasPrefix(line, "sallyport") && !strings.Contains(line, "bucket{") {
						t.Log(strings.TrimSpace(line))
					}
				}
			}
			problems, err := promlint.New(strings.NewReader(got)).Lint()
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range problems {
				if strings.HasPrefix(one.Metric, "sallyport_") {
					t.Errorf("promlint: %s: %s", one.Metric, one.Text)
				}
			}
			// The metrics listener serves only the metrics, and the portal doesn't serve them.
			if resp, err := http.Get("http://" + address + "/login"); err != nil || resp.StatusCode != http.StatusNotFound {
				t.Errorf("GET /login at the metrics listener isn't answered with 404 (%v)", err)
			}
			if got := b.Get("/metrics"); got.Status != http.StatusNotFound {
				t.Errorf("GET /metrics at the portal: %d, want 404", got.Status)
			}
		})
	}
}

// TestMetricsAreTheGoldenOnes compares names, types, help texts, labels and buckets. Operators'
// dashboards and alerts depend on them, so a difference belongs in the changelog.
func TestMetricsAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	p, address := portal.StartMeasured(t, "sqlite")
	p.Browser(t).Get("/login")
	var got strings.Builder
	for line := range strings.Lines(portal.Scrape(t, address)) {
		switch {
		case strings.Contains(line, "{route=") && !strings.Contains(line, `{route="GET /login",status="200"`):
			// This request was made while the portal started.
		case strings.HasPrefix(line, "# ") && strings.Contains(line, " sallyport_"):
			got.WriteString(line)
		case strings.HasPrefix(line, "sallyport_"):
			got.WriteString(line[:strings.LastIndexByte(line, ' ')] + "\n") // without the value
		}
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	testkit.Check(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// TestMetricsCountRequestsForPanels counts requests through the gateway; forward-auth uses the same
// metric.
func TestMetricsCountRequestsForPanels(t *testing.T) {
	t.Parallel()
	panel := panels.StartPanel(t, "radio")
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := panels.WriteConfig(t, "panels:\n  - url: "+panels.Radio+"\n    upstream: "+panel.URL+"\n    rules:\n      - {path: /ops/, require: session, groups: [ops]}\n")
			p, address := portal.StartMeasured(t, engine, "SALLYPORT_CONFIG="+config)
			p.AddAccount(t, "ada")
			b := panels.Visit(t, p, "ada", panels.Radio+"/") // redirected to the sign-in and back
			b.Get(panels.Radio + "/ops/")
			got := portal.Scrape(t, address)
			for _, want := range []string{
				`sallyport_panel_checks_total{outcome="admitted"} 1`,
				`sallyport_panel_checks_total{outcome="denied"} 1`,
				`sallyport_panel_checks_total{outcome="sign_in"} 1`,
				`sallyport_panel_checks_total{outcome="unavailable"} 0`,
			} {
				if !strings.Contains(got, want+"\n") {
					t.Errorf("the metrics don't have %s", want)
				}
			}
		})
	}
}
