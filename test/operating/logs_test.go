package operating

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// logged returns the log's lines with a message, each reduced to the fields that say what it is
// about.
func logged(t *testing.T, p *portal.Portal, message string) []map[string]string {
	t.Helper()
	var all []map[string]string
	for line := range strings.Lines(p.Logs.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("line of the log that isn't JSON: %v: %s", err, line)
		}
		if entry["msg"] != message {
			continue
		}
		about := map[string]string{}
		for _, name := range []string{"step", "outcome", "host", "panel", "account", "path", "reason"} {
			if value, ok := entry[name].(string); ok {
				about[name] = value
			}
		}
		all = append(all, about)
	}
	return all
}

// TestLogLinesNamePanelAndAccount checks that each line about a request or a sign-in names the
// host, the panel, and the account once it is known, but never a query or a text that a user
// typed.
func TestLogLinesNamePanelAndAccount(t *testing.T) {
	t.Parallel()
	down, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	dead := down.Addr().String()
	down.Close()
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf(`public_url: http://auth.test
trusted_proxies: [127.0.0.1]
panels:
  - url: http://radio.test
    upstream: http://%s
  - url: http://wiki.test
    rules:
      - path: /ops/
        require: session
        groups: [ops]
`, dead)))
	p.AddAccount(t, "ada")
	logs := func(message string, want ...map[string]string) {
		t.Helper()
		got := logged(t, p, message)
		got = got[len(got)-min(len(got), len(want)):]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("last lines with the message %q (-want +got):\n%s", message, diff)
		}
	}
	do := func(b *http.Client, method, host, target string, header http.Header, body string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+p.At+target, strings.NewReader(body))
		testkit.Check(t, err)
		req.Host = host
		maps.Copy(req.Header, header)
		resp, err := b.Do(req)
		testkit.Check(t, err)
		resp.Body.Close()
		return resp
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"http://auth.test"}}
	enter := "/enter?panel=http%3A%2F%2Fwiki.test&return=%2Fops%2Fsecret%3Fq%3Dcanary&state=" + strings.Repeat("A", 43)
	signIn := func(name, word string) *http.Response {
		values := "username=" + name + "&password=" + strings.ReplaceAll(word, " ", "+") + "&return=" + strings.NewReplacer("?", "%3F", "&", "%26", "=", "%3D", "%", "%25").Replace(enter)
		return do(client, "POST", "auth.test", "/login", form, values)
	}
	signIn("canary", "canary canary canary")
	logs("sign-in", map[string]string{"step": "password", "outcome": "rejected", "host": "auth.test", "panel": "wiki.test"})
	resp := signIn("ada", portal.Password)
	logs("sign-in", map[string]string{"step": "password", "outcome": "accepted", "host": "auth.test", "panel": "wiki.test", "account": "ada"})

	var cookies []string
	for _, c := range resp.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	session := http.Header{"Cookie": {strings.Join(cookies, "; ")}}
	do(client, "GET", "auth.test", enter, session, "")
	logs("refused", map[string]string{"host": "auth.test", "panel": "wiki.test", "account": "ada", "path": "/enter", "reason": "the panel doesn't admit the account"})
	do(client, "GET", "auth.test", "/none?q=canary", session, "")
	logs("refused", map[string]string{"host": "auth.test", "account": "ada", "path": "/none", "reason": "no such page"})

	do(client, "GET", "radio.test", "/.sallyport/none?q=canary", nil, "")
	logs("refused", map[string]string{"host": "radio.test", "panel": "radio.test", "path": "/.sallyport/none", "reason": "no such page"})
	panels.Visit(t, p, "ada", "http://radio.test/?q=canary")
	logs("refused", map[string]string{"host": "radio.test", "panel": "radio.test", "account": "ada", "path": "/", "reason": "panel doesn't answer: dial tcp " + dead + ": connect: connection refused"})

	b := panels.Visit(t, p, "ada", "http://wiki.test/.sallyport/start?return=/")
	question := http.Header{
		"X-Original-Url": {"http://wiki.test/ops/?q=canary"}, "X-Original-Method": {"GET"}, "X-Real-Ip": {"192.0.2.1"},
		"Cookie": {"sallyport-visit=" + b.CookieAt("http://wiki.test", "sallyport-visit")},
	}
	do(client, "GET", "sallyport", "/verify/nginx/refused", question, "")
	logs("refused", map[string]string{"host": "sallyport", "panel": "wiki.test", "account": "ada", "path": "/verify/nginx/refused", "reason": "forbidden: the panel doesn't admit the account"})
	if strings.Contains(p.Logs.String(), "canary") {
		t.Errorf("the log contains a query or a text that was typed:\n%s", p.Logs)
	}
}
