package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	withPair = "public_url: https://auth.example.com\ntls: {certificates: [{cert: a.pem, key: a.key}]}\n"
	withACME = "public_url: https://auth.example.com\ntls: {acme: {accept_terms: true}}\n"
)

func TestTLSIsReadWhole(t *testing.T) {
	c, err := loadText(`public_url: https://auth.example.com
listen: :443
redirect_listen: :80
tls:
  certificates:
    - cert: /etc/ssl/one.pem
      key: /etc/ssl/one.key
    - {cert: two.pem, key: two.key}
`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Pair{{"/etc/ssl/one.pem", "/etc/ssl/one.key"}, {"two.pem", "two.key"}}, c.TLS.Certificates); diff != "" || !c.TerminatesTLS() || c.RedirectListen != ":80" {
		t.Errorf("loads as %+v, want the two pairs, TLS, and a redirect at :80", c)
	}
	c, err = loadText("public_url: https://auth.example.com", "SALLYPORT_TLS_ACME_ACCEPT_TERMS=true", "SALLYPORT_TLS_ACME_EMAIL=ops@example.com",
		"SALLYPORT_TLS_ACME_DIRECTORY=http://127.0.0.1:14000/dir", "SALLYPORT_REDIRECT_LISTEN=:80", "SALLYPORT_DATA_DIR=/var/lib/sallyport")
	if err != nil {
		t.Fatal(err)
	}
	if acme := c.TLS.ACME; !c.TerminatesTLS() || acme.Email != "ops@example.com" || acme.Directory != "http://127.0.0.1:14000/dir" || c.ACMEDir() != "/var/lib/sallyport/acme" {
		t.Errorf("loads as %+v", c)
	}
	for _, text := range []string{"", "public_url: https://auth.example.com", "tls: {certificates: [], acme: {accept_terms: false}}"} {
		if c, err := loadText(text); err != nil || c.TerminatesTLS() {
			t.Errorf("%q: TerminatesTLS() is %v, %v; want false", text, c.TerminatesTLS(), err)
		}
	}
}

func TestFaultsOfTLS(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       string // beginning of the only fault; "" for a text without a fault
	}{
		{"without a URL", "tls: {certificates: [{cert: a, key: b}]}", "sallyport.yaml:1: tls.certificates: must begin with https://, since tls is set up; it is http://127.0.0.1:9091"},
		{"plain http", "public_url: http://auth.example.com\ntls: {acme: {accept_terms: true}}", "sallyport.yaml:1: public_url: must begin with https://"},
		{"no key", "public_url: https://a.example\ntls:\n  certificates:\n    - cert: a.pem\n", "sallyport.yaml:4: tls.certificates[0]: must name a file; a pair has cert and key"},
		{"no file", "public_url: https://a.example\ntls:\n  certificates:\n    - cert: a.pem\n      key: ''\n", "sallyport.yaml:5: tls.certificates[0].key: must name a file"},
		{"one file for both, as a key of its own", "public_url: https://a.example\ntls: {certificates: [{file: a.pem, cert: a, key: b}]}", "sallyport.yaml:2: tls.certificates[0].file: unknown key; the keys here are cert, key"},
		{"pair as text", "public_url: https://a.example\ntls: {certificates: a.pem}", "sallyport.yaml:2: tls.certificates: is text; write a list of groups of keys"},
		{"both", "public_url: https://a.example\ntls:\n  certificates: [{cert: a, key: b}]\n  acme:\n    accept_terms: true\n", "sallyport.yaml:5: tls.acme.accept_terms: gets certificates from a CA, and tls.certificates reads them from files; keep only one"},
		{"email without accepted terms", "tls:\n  acme:\n    email: ops@example.com\n", "sallyport.yaml:3: tls.acme.email: has no effect until tls.acme.accept_terms is true"},
		{"a directory without accepted terms", "tls:\n  acme:\n    directory: https://ca.example.com/dir\n", "sallyport.yaml:3: tls.acme.directory: has no effect until tls.acme.accept_terms is true"},
		{"terms in other words", "public_url: https://a.example\ntls: {acme: {accept_terms: yes please}}", "sallyport.yaml:2: tls.acme.accept_terms: is text, not true or false"},
		{"no e-mail address", "public_url: https://a.example\ntls: {acme: {accept_terms: true, email: 'a@example.com?to=b@example.com'}}", `sallyport.yaml:2: tls.acme.email: "a@example.com?to=b@example.com" isn't an e-mail address`},
		{"CA by http", "public_url: https://a.example\ntls: {acme: {accept_terms: true, directory: 'http://ca.example.com/dir'}}", `sallyport.yaml:2: tls.acme.directory: "http://ca.example.com/dir" is plain http, so anybody on the way could impersonate the CA; write https`},
		{"CA by name", "public_url: https://a.example\ntls: {acme: {accept_terms: true, directory: letsencrypt}}", `sallyport.yaml:2: tls.acme.directory: "letsencrypt" isn't the URL of an ACME directory`},
		{"ACME for an address", "public_url: https://192.0.2.1\ntls: {acme: {accept_terms: true}}", "sallyport.yaml:1: public_url: no CA issues a certificate for 192.0.2.1"},
		{"ACME for a short name", withACME + "panels: [{url: 'https://nas', upstream: 'http://127.0.0.1:1'}]", "sallyport.yaml:3: panels[0].url: no CA issues a certificate for nas"},
		{"a panel by address", withPair + "panels: [{url: 'https://192.0.2.1', upstream: 'http://127.0.0.1:1'}]", "sallyport.yaml:3: panels[0].url: 192.0.2.1 is an address, which clients don't name in TLS"},
		{"a panel by http", withPair + "panels: [{url: 'http://localhost', upstream: 'http://127.0.0.1:1'}]", "sallyport.yaml:3: panels[0].url: http://localhost is http, but the gateway serves it over TLS, since tls is set up; write https"},
		{"redirect without TLS", "public_url: https://a.example\nredirect_listen: :80\n", "sallyport.yaml:2: redirect_listen: redirects to Sallyport's own https"},
		{"redirect at the portal's address", withPair + "listen: :443\nredirect_listen: :443\n", "sallyport.yaml:4: redirect_listen: is the address of another listener; choose another port"},
		{"redirect at the metrics' address", withPair + "metrics_listen: :443\nredirect_listen: :443\n", "sallyport.yaml:4: redirect_listen: is the address of another listener; choose another port"},
		{"redirect at no address", withPair + "redirect_listen: '80'\n", `sallyport.yaml:3: redirect_listen: "80" isn't an address and port`},
		{"an address for the portal", "public_url: https://192.0.2.1\ntls: {certificates: [{cert: a, key: b}]}", ""},
		{"another proxy's panel", withACME + "trusted_proxies: [127.0.0.1]\npanels: [{url: 'https://nas'}]", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := loadText(test.text)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	if _, err := loadText(withACME, "SALLYPORT_TLS_CERTIFICATES=a.pem"); err == nil || !strings.Contains(err.Error(), "can't be set by a variable") {
		t.Errorf("pairs in a variable: %v, want that a variable can't set them", err)
	}
}

// The examples in docs/tls.md are valid configurations.
func TestExamplesOfTLSAreConfigurations(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "tls.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for rest := string(text); ; n++ {
		_, after, found := strings.Cut(rest, "```yaml\n")
		if !found {
			break
		}
		var example string
		example, rest, _ = strings.Cut(after, "```")
		if c, err := loadText(example); err != nil || !c.TerminatesTLS() {
			t.Errorf("%s\nloads with %v, want no fault and TLS", example, err)
		}
	}
	if n < 2 {
		t.Errorf("docs/tls.md has %d examples, want at least 2", n)
	}
}
