package operating

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// query is a Prometheus query of the dashboard or of an alert, with the text of its legend or its
// annotations, which can name labels.
type query struct {
	where, expr, text string
}

// dashboardQueries returns the queries of the dashboard in deploy/grafana.
func dashboardQueries(t *testing.T) (all []query) {
	t.Helper()
	text, err := os.ReadFile(testkit.Path("deploy/grafana/dashboard.json"))
	testkit.Check(t, err)
	var board struct {
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	testkit.Check(t, json.Unmarshal(text, &board))
	ids := map[int]bool{}
	for _, panel := range board.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			all = append(all, query{panel.Title, target.Expr, target.LegendFormat})
		}
	}
	for _, one := range board.Templating.List {
		if one.Definition != "" {
			all = append(all, query{"$" + one.Name, one.Definition, ""})
		}
	}
	return all
}

// alertQueries returns the queries of the alerts in deploy/prometheus. It fails the test unless
// each alert says what to do.
func alertQueries(t *testing.T) (all []query) {
	t.Helper()
	text, err := os.ReadFile(testkit.Path("deploy/prometheus/rules.yaml"))
	testkit.Check(t, err)
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	testkit.Check(t, yaml.Unmarshal(text, &file))
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if level := rule.Labels["severity"]; level != "page" && level != "warn" {
				t.Errorf("alert %s has the severity %q, want page or warn", rule.Alert, level)
			}
			if !strings.HasSuffix(rule.Annotations["summary"], ".") || !strings.HasSuffix(rule.Annotations["runbook"], ".") {
				t.Errorf("alert %s doesn't say in whole sentences what is wrong and what to do", rule.Alert)
			}
			all = append(all, query{rule.Alert, rule.Expr, strings.Join(slices.Collect(maps.Values(rule.Annotations)), "\n")})
		}
	}
	return all
}

var (
	sampleLine   = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? `)
	labelPair    = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	usedMetric   = regexp.MustCompile(`\b((?:sallyport|process|go)_[a-z_]+)\b(?:\{([^}]*)\})?`)
	usedMatcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	usedGrouping = regexp.MustCompile(`by \(([^)]*)\)|label_values\([a-z_]+, ([a-z_]+)\)|\{\{ ?(?:\$labels\.)?([a-z_]+) ?\}\}`)
)

// exposed has the label values of the metrics in a scrape, by metric and label.
type exposed map[string]map[string]map[string]bool

// readExposed parses the text of a scrape.
func readExposed(text string) exposed {
	all := exposed{}
	for _, line := range sampleLine.FindAllStringSubmatch(text, -1) {
		if all[line[1]] == nil {
			// Prometheus adds these two labels to every metric.
			all[line[1]] = map[string]map[string]bool{"job": {"sallyport": true}, "instance": {}}
		}
		labels := all[line[1]]
		for _, pair := range labelPair.FindAllStringSubmatch(line[2], -1) {
			if labels[pair[1]] == nil {
				labels[pair[1]] = map[string]bool{}
			}
			labels[pair[1]][pair[2]] = true
		}
	}
	return all
}

// missing returns the metrics, label values and labels that a query uses but the scrape doesn't
// have.
func (e exposed) missing(q query) (missing []string) {
	labels := map[string]bool{}
	for _, used := range usedMetric.FindAllStringSubmatch(q.expr, -1) {
		metric, ok := e[used[1]]
		if !ok {
			missing = append(missing, used[1])
			continue
		}
		for label := range metric {
			labels[label] = true
		}
		for _, matcher := range usedMatcher.FindAllStringSubmatch(used[2], -1) {
			label, operator, value := matcher[1], matcher[2], matcher[3]
			if strings.HasPrefix(value, "$") && metric[label] != nil {
				continue // the value is a variable of the dashboard
			}
			pattern := regexp.QuoteMeta(value)
			if strings.HasSuffix(operator, "~") {
				pattern = value
			}
			matches := regexp.MustCompile("^(?:" + pattern + ")$").MatchString
			if !slices.ContainsFunc(slices.Collect(maps.Keys(metric[label])), matches) {
				missing = append(missing, used[1]+matcher[0])
			}
		}
	}
	for _, used := range usedGrouping.FindAllStringSubmatch(q.expr+"\n"+q.text, -1) {
		for label := range strings.SplitSeq(used[1]+used[2]+used[3], ",") {
			if label = strings.TrimSpace(label); !labels[label] && q.expr != `up{job="sallyport"} == 0` {
				missing = append(missing, "the label "+label)
			}
		}
	}
	return missing
}

func TestDashboardAndAlertsUseExistingMetrics(t *testing.T) {
	t.Parallel()
	p, address := portal.StartMeasured(t, "sqlite")
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	p.DB.Close()
	if a := b.Post("/login", "username", "ada", "password", portal.Password); a.Status != 503 {
		t.Fatalf("sign-in without a database: %d, want 503", a.Status)
	}
	scrape := readExposed(portal.Scrape(t, address))

	queries := append(dashboardQueries(t), alertQueries(t)...)
	if len(queries) < 20 {
		t.Fatalf("found only %d queries, want at least 20", len(queries))
	}
	for _, q := range queries {
		if missing := scrape.missing(q); missing != nil {
			t.Errorf("the query of %q uses what the metrics don't have: %s", q.where, strings.Join(missing, ", "))
		}
	}
	// Queries with faults, which the test must find.
	for expr, want := range map[string]string{
		`sallyport_sign_in_total`:                             "sallyport_sign_in_total",
		`rate(sallyport_sign_ins_total{outcome="wrong"}[5m])`: `sallyport_sign_ins_totaloutcome="wrong"`,
		`sum by (kind) (sallyport_refusals_total)`:            "the label kind",
	} {
		if got := scrape.missing(query{"", expr, ""}); !slices.Equal(got, []string{want}) {
			t.Errorf("missing in the query %s: %q, want %q", expr, got, want)
		}
	}
}
