package cli

import (
	"bytes"
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

// No command prints a part of the password in a database URL: not if the URL is ambiguous,
// not if the database refuses the connection, and not if there is no database.
func TestNoCommandPrintsAPartOfADatabasePassword(t *testing.T) {
	t.Parallel()
	server, err := url.Parse(testkit.DatabaseURL(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	server.User = url.UserPassword("geheimuser", "geheim")
	wrong := server.String()
	port, err := testkit.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"postgres://sp:ge@heim@127.0.0.1:1/sp",
		"postgres://sp:4711/geheim@127.0.0.1:1/sp",
		"postgres://sp:4711?geheim@127.0.0.1:1/sp",
		"postgres://sp:4711#geheim@127.0.0.1:1/sp",
		"postgres://sp:geheim",
		"postgres://sp:4711",
		"postgres://sp:geheim@:4711/sp",
		"postgres://127.0.0.1:1/sp?user=sp&password=ge&heim=1",
		"postgres://127.0.0.1:1/sp?sslpassword=ge@heim",
		"host=127.0.0.1 port=1 user=sp password=geheim",
		// Well-formed ones. The database doesn't exist or refuses the connection.
		"postgres://sp:geheim@127.0.0.1:1/geheimdb",
		"postgres://sp:ge%40heim%2F4711@127.0.0.1:1/sp",
		"postgres://127.0.0.1:1/sp?user=geheimuser&password=ge%26heim",
		"postgres://127.0.0.1:1/sp?passfile=/nonexistent/geheim",
		"postgres://sp:geheim@no-such-host.invalid/sp",
		wrong,
	} {
		for _, set := range [][]string{
			{"SALLYPORT_DATABASE=" + text},
			{"SALLYPORT_DATABASE=" + text, "SALLYPORT_POOLER=true", "SALLYPORT_DATABASE_DIRECT=" + text},
		} {
			environ := append([]string{"SALLYPORT_DATA_DIR=" + t.TempDir(), "SALLYPORT_LISTEN=127.0.0.1:" + port, "SALLYPORT_LOG_LEVEL=debug"}, set...)
			for _, args := range [][]string{{"config", "check"}, {"serve"}, {"doctor"}, {"key", "check"}, {"account", "list"}} {
				// No database accepts a connection, so serve ends by itself.
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				var out bytes.Buffer
				code := mainContext(ctx, args, Streams{In: strings.NewReader(""), Out: &out, Err: &out}, environ)
				cancel()
				if code == 0 && args[0] != "config" && args[0] != "doctor" {
					t.Errorf("%s with %s succeeds, want a failure", args, text)
				}
				for _, part := range []string{"heim", "4711"} {
					if strings.Contains(out.String(), part) {
						t.Errorf("%s with %s prints a part of the password:\n%s", args, text, out.String())
					}
				}
			}
		}
	}
}
