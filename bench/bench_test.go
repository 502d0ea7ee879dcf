package main

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test's binary run as the bare server, as bench's own binary does.
func TestMain(m *testing.M) {
	serveBare()
	os.Exit(m.Run())
}

func TestQuickRunGivesFiniteRatios(t *testing.T) {
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "known=1" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer peer.Close()
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("Cookie: known=1\nX-Forwarded-Host: panel.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	peers, err := readPeers([]string{"Other=" + peer.URL + "/verify"}, headers)
	if err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), options{only: []string{"a", "b"}, quick: true, peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	ratios, others := 0, 0
	for _, one := range r.rows {
		if one.bare == 0 {
			continue
		}
		ratios++
		if strings.Contains(one.what, "Other") {
			others++
		}
		for _, number := range []float64{one.got, one.bare, one.ratio} {
			if !(number > 0) || math.IsInf(number, 0) {
				t.Errorf("%s: %v against %v gives the ratio %v; want each to be positive and finite", one.what, one.got, one.bare, one.ratio)
			}
		}
	}
	if ratios < 5 || others != 4 {
		t.Errorf("%d ratios, %d of them of the peer; want at least 5, and 4", ratios, others)
	}
	writtenPage(t, r)
}

// writtenPage writes the report into a directory, checks its page, and returns the page.
func writtenPage(t *testing.T, r *report) string {
	t.Helper()
	dir := t.TempDir()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	checkPage(t, dir, string(page))
	return string(page)
}

func TestGatewayIsMeasuredWithPostsToo(t *testing.T) {
	r, err := run(t.Context(), options{only: []string{"c"}, quick: true, runs: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range quickSizes.connections {
		want := "Through the gateway, POST of 1 kB, " + counted(n, "connection") + ": Sallyport"
		i := slices.IndexFunc(r.rows, func(one row) bool { return one.what == want })
		if i < 0 {
			t.Errorf("no row %q", want)
			continue
		}
		if one := r.rows[i]; !(one.got > 0 && one.bare > 0 && one.ratio > 0) {
			t.Errorf("%s: %v against %v gives the ratio %v", want, one.got, one.bare, one.ratio)
		}
	}
	page := writtenPage(t, r)
	for _, want := range []string{"`POST` of a form of 1 kB", "](performance/c-cpu.svg)", "](performance/c-post-cpu.svg)",
		"## At the limit", "was measured 2 times", "Through the gateway, POST of 1 kB:\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page doesn't show %s", want)
		}
	}
}

func TestMixedLoadAndStartsAreMeasured(t *testing.T) {
	b, err := newBench(t.Context(), options{quick: true})
	if err != nil {
		t.Fatal(err)
	}
	b.steady = 200 * time.Millisecond
	err = b.perform(func() {
		b.build()
		b.coldStart()
		measureMixed(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, one := range b.rows {
		if !isFinite(one.result()) || one.result() <= 0 && !strings.HasPrefix(one.what, "Longest wait") {
			t.Errorf("%s: the result is %v, want a finite positive number", one.what, one.result())
		}
		if one.bare > 0 {
			compared++
		}
	}
	if want := 3 * len(mixture); compared != want {
		t.Errorf("%d latencies were compared with those of a load of one kind only, want %d", compared, want)
	}
}

func TestNoticesAreMeasured(t *testing.T) {
	b, err := newBench(t.Context(), options{quick: true})
	if err != nil {
		t.Fatal(err)
	}
	b.steady, b.rounds = 200*time.Millisecond, 1
	err = b.perform(func() {
		b.build()
		measureNotices(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range b.rows {
		if !isFinite(one.ratio) || one.ratio <= 0 {
			t.Errorf("%s: the ratio is %v, want a finite positive number", one.what, one.ratio)
		}
	}
	if len(b.rows) != 4 {
		t.Errorf("%d rows, want 4", len(b.rows))
	}
}

func TestRequestsHaveTheirBodysLength(t *testing.T) {
	for _, body := range []string{"", form} {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(requestWith(http.MethodPost, "/rack", "gate.test", body, "Origin", gatewayPanel))))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != body || r.Method != http.MethodPost || r.Host != "gate.test" {
			t.Errorf("got %s %s with the body %q, %v; want %q", r.Method, r.Host, got, err, body)
		}
	}
	if len(form) != kB {
		t.Errorf("the form has %d bytes, want %v", len(form), kB)
	}
}

// docs/performance.md must be the output of a run.
func TestPageShowsExistingPlots(t *testing.T) {
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	checkPage(t, "../docs", string(page))
}

func checkPage(t *testing.T, dir, page string) {
	t.Helper()
	shown := regexp.MustCompile(`\]\((performance/[a-z0-9-]+\.svg)\)`).FindAllStringSubmatch(page, -1)
	if len(shown) == 0 {
		t.Error("the page shows no plot")
	}
	for _, one := range shown {
		text, err := os.ReadFile(filepath.Join(dir, one[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		checkSVG(t, one[1], string(text))
	}
	for _, wrong := range []string{"NaN", "Inf", "<no value>", "%!", "| ? "} {
		if strings.Contains(page, wrong) {
			t.Errorf("the page contains %s", wrong)
		}
	}
	columns := 0
	for line := range strings.Lines(page) {
		n := 0
		if strings.HasPrefix(line, "|") {
			n = strings.Count(line, "|")
		}
		if n > 0 && columns > 0 && n != columns {
			t.Errorf("a row has %d bars, the row before has %d: %s", n, columns, line)
		}
		columns = n
	}
}

func checkSVG(t *testing.T, name, text string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
	}
	for _, wrong := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(text, wrong) {
			t.Errorf("%s contains %s", name, wrong)
		}
	}
	if !strings.Contains(text, "prefers-color-scheme:dark") {
		t.Errorf("%s has no dark colours", name)
	}
}

func TestPlotsOfOddValuesAreValid(t *testing.T) {
	curves := map[string]curve{
		"nothing": {name: "a & <b>"},
		"zeros":   {name: "0", xs: []float64{0, 0}, ys: []float64{0, 0}},
		"one":     {name: "1", xs: []float64{1}, ys: []float64{1}},
		"wide":    {name: "wide", xs: []float64{1, 1e6}, ys: []float64{0.001, 1e9}},
		"equal":   {name: "equal", xs: []float64{64, 64}, ys: []float64{100, 100}},
	}
	for name, one := range curves {
		for _, log := range []bool{false, true} {
			checkSVG(t, name, plot{title: "a & <b>", x: "x", y: "y", logX: log, logY: log, lines: []curve{one, one}}.svg())
		}
	}
}

func TestAxesContainTheirValues(t *testing.T) {
	for _, top := range []float64{0.003, 0.7, 1, 4.2, 9, 11, 64, 99, 101, 31_000} {
		a := newAxis(false, []float64{top}, 400, 0)
		if len(a.ticks) < 4 || len(a.ticks) > 11 || a.ticks[0] != 0 || a.top < top || a.position(top) < 0 || a.position(0) != 400 {
			t.Errorf("an axis up to %v has the ticks %v, want 4 to 11 of them, the first at 0", top, a.ticks)
		}
	}
	a := newAxis(true, []float64{0.05, 30}, 0, 100)
	if diff := cmp.Diff([]float64{0.05, 30}, a.ticks); diff != "" {
		t.Error(diff)
	}
	a = newAxis(true, []float64{0.05, 30}, 100, 0)
	if a.position(0.05) > 100 || a.position(30) < 0 || len(a.ticks) < 4 {
		t.Errorf("a logarithmic axis from 0.05 to 30 has the ticks %v, want at least 4 within the plot", a.ticks)
	}
}

func TestSidesAlternate(t *testing.T) {
	var order strings.Builder
	newSide := func(name string, value float64) side {
		return func() sample { order.WriteString(name); return sample{cpu: value} }
	}
	got := alternate(3, newSide("a", 3), newSide("b", 2))
	if order.String() != "abbaabba" {
		t.Errorf("the sides ran in the order %s, want abbaabba", order.String())
	}
	if len(got[0]) != 3 || len(got[1]) != 3 {
		t.Fatalf("%d and %d samples, want 3 each", len(got[0]), len(got[1]))
	}
	if ratio := medianRatio(got[0], got[1], cpuOf); ratio != 1.5 {
		t.Errorf("ratio %v, want 1.5", ratio)
	}
}

func TestMedianRatioComparesRoundByRound(t *testing.T) {
	// A machine that is slow during one round slows both sides of that round.
	ours := []sample{{cpu: 11}, {cpu: 22}, {cpu: 110}}
	bare := []sample{{cpu: 10}, {cpu: 20}, {cpu: 100}}
	if ratio := medianRatio(ours, bare, cpuOf); math.Abs(ratio-1.1) > 1e-9 {
		t.Errorf("with one slow round, the median ratio is %v, want 1.1", ratio)
	}
	if m := medianOf(ours, cpuOf); m != 22 {
		t.Errorf("the median is %v, want 22", m)
	}
}

func TestQuantile(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(i))
	}
	for share, want := range map[float64]float64{0: 0, 0.5: 50, 0.99: 99, 1: 99} {
		if got := quantile(hundred, share); got != want {
			t.Errorf("quantile %v is %v, want %v", share, got, want)
		}
	}
	if got := quantile([]float64(nil), 0.5); got != 0 {
		t.Errorf("the quantile of no values is %v, want 0", got)
	}
}

func TestRowsShowWhetherTheTargetIsMet(t *testing.T) {
	tests := []struct {
		row  row
		want []string
	}{
		{row{what: "a", unit: "MB", got: 24.96, target: atMost(25)}, []string{"a", "25.0 MB", "", "", "", "≤ 25 MB", "met"}},
		{row{what: "b", unit: "µs", got: 12.34, bare: 10, ratio: 1.234, target: atMost(1.15)}, []string{"b", "12.3 µs", "10 µs", "1.23", "", "≤ 1.15", "missed"}},
		{row{what: "c", unit: "/s", got: 1234.5, bare: 2000, ratio: 0.617, target: atLeast(0.5)}, []string{"c", "1234 /s", "2000 /s", "0.62", "", "≥ 0.5", "met"}},
		{row{what: "d", got: 1, bare: 3, ratio: 0.33, target: atLeast(0.5)}, []string{"d", "1", "3", "0.33", "", "≥ 0.5", "missed"}},
		{row{what: "e", unit: "ms", got: 0.5}, []string{"e", "0.50 ms", "", "", "", "", ""}},
		{row{what: "f", unit: "ms", got: 1.25, bare: 1, byDifference: true, target: atMost(0.3)}, []string{"f", "1.25 ms", "1 ms", "+0.25 ms", "", "≤ +0.3 ms", "met"}},
		{row{what: "g", got: 1, bare: 1, ratio: 1, spread: spread{1, 0.9, 1.2}, runs: 5, met: 4, target: atMost(1.1)}, []string{"g", "1", "1", "1.00", "0.90 to 1.20", "≤ 1.1", "met in 4 of 5"}},
		{row{what: "h", got: 1, runs: 5, met: 5, spread: spread{1, 1, 1}, target: atMost(1)}, []string{"h", "1", "", "", "1 to 1", "≤ 1", "met"}},
		{row{what: "i", got: 2, runs: 5, spread: spread{2, 2, 2}, target: atMost(1)}, []string{"i", "2", "", "", "2 to 2", "≤ 1", "missed"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, test.row.cells()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPeersAreReadOrRefused(t *testing.T) {
	for _, text := range []string{"", "x", "=http://127.0.0.1:1/", "x=127.0.0.1:1", "x=https://127.0.0.1:1/", "x=http://127.0.0.1/"} {
		if _, err := readPeers([]string{text}, ""); err == nil {
			t.Errorf("-peer %q was accepted, want an error", text)
		}
	}
}

func TestScriptRepeatsTheLoggedStatements(t *testing.T) {
	got := pgbenchScript([]loggedStatement{
		{text: "begin"},
		{text: "SELECT times, version FROM ledger WHERE account_id = $1", values: []string{"'abcdefghijklmnopqrst'"}},
		{text: "UPDATE ledger SET times = $2 WHERE account_id = $1 AND version = $3", values: []string{"'abcdefghijklmnopqrst'", "NULL", "'7'"}},
		{text: "UPDATE ledger SET times = $2 WHERE account_id = $1 AND version = $3", values: []string{"'abcdefghijklmnopqrst'", "''", "'8'"}},
		{text: "INSERT INTO events VALUES ($1, $2)", values: []string{"'ABCDEFGHIJKLMNOPQRST'", "'totp:x'"}},
		{text: "commit"},
	}, map[string]string{"'abcdefghijklmnopqrst'": ":person"})
	_, got, _ = strings.Cut(got, "begin;\n")
	want := `SELECT times, version FROM ledger WHERE account_id = :person \gset
UPDATE ledger SET times = NULL WHERE account_id = :person AND version = :version + 0;
UPDATE ledger SET times = '' WHERE account_id = :person AND version = :version + 1;
INSERT INTO events VALUES (:made, :proofs);
commit;
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
