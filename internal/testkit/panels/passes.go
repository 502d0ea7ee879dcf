package panels

import (
	"context"
	"encoding/base64"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// ShownPass finds a machine pass in what a page or a command shows.
var ShownPass = regexp.MustCompile(`spp_[A-Za-z0-9_-]{43}`)

// PanelRadio returns the setting that names a configuration with one panel, [Radio]. Nothing
// listens at the panel's upstream.
func PanelRadio(t *testing.T) string {
	t.Helper()
	return "SALLYPORT_CONFIG=" + WriteConfig(t, "panels: [{url: "+Radio+", upstream: 'http://127.0.0.1:9'}]\n")
}

// MakePass creates a pass in the browser and returns its token. It sends the fields that
// [PassFields] returns for the same arguments.
func MakePass(t *testing.T, b *portal.Browser, name string, changed ...string) string {
	t.Helper()
	a := b.Post("/settings/security/passes", PassFields(name, changed...)...)
	token := ShownPass.FindString(a.Body)
	if a.Status != http.StatusOK || token == "" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("create the pass %s: %s, want 200 with a token and Cache-Control no-store", name, portal.Summary(a))
	}
	return token
}

// PassFields returns the fields of the form for a new pass, in pairs of name and value.
// changed are such pairs too: they replace fields with the same name, or add fields.
func PassFields(name string, changed ...string) []string {
	fields := map[string]string{"name": name, "panel": Radio, "path": "/", "methods": "", "addresses": "", "days": "90"}
	for i := 0; i+1 < len(changed); i += 2 {
		fields[changed[i]] = changed[i+1]
	}
	var pairs []string
	for field, value := range fields {
		pairs = append(pairs, field, value)
	}
	return pairs
}

// OperatorsPass creates a pass that is valid for an hour, as the command line does, and returns
// its token.
func OperatorsPass(t *testing.T, p *portal.Portal, a account.Account, panel, path, methods, addresses string) string {
	t.Helper()
	scope, err := access.NewScope(panel, path, methods, addresses)
	testkit.Check(t, err)
	token, err := p.Manage.Passes.Create(context.Background(), manage.CommandLine(), a, pass.Pass{Name: "of the operator", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)})
	testkit.Check(t, err)
	return token.Reveal()
}

// AsHeader returns a Sallyport-Pass header with a pass.
func AsHeader(token string) http.Header { return http.Header{"Sallyport-Pass": {token}} }

// AsBearer returns an Authorization header with a pass as a bearer token.
func AsBearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// AsBasic returns an Authorization header with a pass as a password.
func AsBasic(token string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("script:"+token))}}
}

// OnlyPass returns the pass of the account owner with this name. It fails the test if there is
// none.
func OnlyPass(t *testing.T, p *portal.Portal, owner, name string) pass.Pass {
	t.Helper()
	all, err := pass.List(context.Background(), p.DB.Reader(), portal.MustAccount(t, p, owner).ID)
	testkit.Check(t, err)
	for _, one := range all {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("%s has no pass %q", owner, name)
	return pass.Pass{}
}
