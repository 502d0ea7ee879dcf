package operating

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// fields lists the fields of all forms and queries.
var fields = []string{"username", "password", "code", "next_code", "backup_code", "unlock_code", "new_password", "return", "ticket", "email", "display_name", "name", "panel", "path", "methods", "addresses", "days"}

// forms lists the routes that read these fields.
var forms = []string{"/login", "/login/code", "/login/backup-code", "/login/new-password", "/login/cancel", "/unlock", "/unlock/ask", "/unlock/code", "/reauthenticate", "/setup",
	"/settings/profile", "/settings/security/password", "/settings/security/disable", "/settings/security/backup-codes",
	"/settings/security/authenticators", "/settings/security/authenticators/none/confirm", "/settings/security/authenticators/none/rename",
	"/settings/security/passes", "/settings/security/passes/none/revoke", "/settings/sessions/let-in", "/settings/sessions/revoke-others", "/nowhere", "/logout",
	"/forgot", "/reset", "/undo-email", "/settings/profile/email", "/settings/profile/email/confirm"}

// TestNoSecretReachesLogsOrMetrics sends marked texts in every field of every form, in queries,
// cookies and headers, with and without a session, and signs in in every way with real secrets.
// Neither the log nor the metrics may contain any of them.
func TestNoSecretReachesLogsOrMetrics(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, address := portal.StartMeasured(t, engine, append(portal.WithMail, panels.PanelRadio(t))...)
			ada := p.AddAccount(t, "ada")
			secrets := map[string]string{"password": portal.Password, "canary": "canary"}
			owner := p.Browser(t)
			keep := func(b *portal.Browser) {
				for _, name := range []string{"sallyport", "sallyport-attempt", "sallyport-device", "sallyport-ticket"} {
					if value := b.Cookie(name); value != "" {
						secrets[name+" "+value[:4]] = value
					}
				}
			}
			owner.SignIn("ada")
			keep(owner)
			phone := owner.Enroll("phone")
			keep(owner)
			secrets["TOTP key"], secrets["TOTP key in hex"] = totp.Base32(phone.Secret), hex.EncodeToString(phone.Secret)
			for _, code := range phone.Codes {
				secrets["backup code "+code] = code
			}
			link := owner.Post("/settings/sessions/let-in").Body
			if _, after, ok := strings.Cut(link, "ticket="); ok {
				secrets["let-in link"] = after[:40]
			} else {
				t.Fatalf("the answer to a request for a let-in link has none: %s", link)
			}

			secrets["reset link"] = portal.MailedReset(t, p, p.Browser(t), "ada")
			p.Browser(t).Get("/reset?ticket=" + secrets["reset link"])
			p.Browser(t).Post("/reset", "ticket", secrets["reset link"], "new_password", "short")
			secrets["verification link"] = portal.MailedVerification(t, p, owner, "ada@example.org")
			owner.Get("/settings/profile/email/confirm?ticket=" + secrets["verification link"])
			owner.Post("/settings/profile/email/confirm", "ticket", secrets["verification link"])
			_, _, secrets["undo link"] = portal.LastMail(t, p, "ada@example.com").Link()
			p.Browser(t).Get("/undo-email?ticket=" + secrets["undo link"])
			p.Browser(t).Post("/undo-email", "ticket", secrets["undo link"], "email", "canary@example.com")

			secrets["machine pass"] = panels.OperatorsPass(t, p, ada, panels.Radio, "/", "", "")
			for _, h := range []http.Header{panels.AsHeader(secrets["machine pass"]), panels.AsBearer(secrets["machine pass"]), panels.AsBasic(secrets["machine pass"])} {
				p.Browser(t).Do(http.MethodGet, "/settings/security", nil, h)
				if a := p.Browser(t).Do(http.MethodGet, panels.Radio+"/x", nil, h); a.Status != http.StatusBadGateway {
					t.Errorf("request to a panel with the machine pass: %d, want 502 from the gateway", a.Status)
				}
			}

			b := p.Browser(t)
			b.SignIn("ada")
			keep(b)
			b.Post("/login/code", "code", phone.Code(-5*time.Minute))
			keep(b)
			b.Post("/login/backup-code", "backup_code", phone.Codes[0])
			keep(b)
			b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0))
			keep(b)

			var pairs []string
			query := url.Values{}
			for _, field := range fields {
				pairs = append(pairs, field, "canary "+field)
				query.Set(field, "canary "+field)
			}
			stranger := p.Browser(t)
			stranger.Header.Set("Authorization", "Bearer canary")
			stranger.Header.Set("X-Forwarded-For", "canary")
			stranger.Header.Set("User-Agent", "canary")
			for _, name := range []string{"sallyport", "sallyport-attempt", "sallyport-device", "sallyport-ticket"} {
				stranger.SetCookie(name, "canary-"+name)
			}
			pending := p.Browser(t)
			pending.SignIn("ada")
			keep(pending)
			for _, b := range []*portal.Browser{stranger, pending, owner} {
				for _, path := range forms {
					b.Post(path, pairs...)
					b.Post(path+"?"+query.Encode(), append(pairs, pairs...)...) // every field twice, which is refused
					b.Get(path + "?" + query.Encode())
					b.Do(http.MethodPost, path, strings.NewReader("canary=%zz;canary"), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://canary.example"}})
				}
			}

			logs, metrics := p.Logs.String(), portal.Scrape(t, address)
			for what, secret := range secrets {
				for line := range strings.Lines(logs) {
					if strings.Contains(line, secret) {
						t.Errorf("the log contains the %s: %s", what, line)
					}
				}
				if strings.Contains(metrics, secret) {
					t.Errorf("the metrics contain the %s", what)
				}
			}
			checkSignInLines(t, logs)
		})
	}
}

// checkSignInLines checks that each step of a sign-in left a line in the log, with the id that the
// other lines of its request have.
func checkSignInLines(t *testing.T, logs string) {
	t.Helper()
	seen, requests := map[string]int{}, map[string]bool{}
	var lines []map[string]any
	for line := range strings.Lines(logs) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("line of the log that isn't JSON: %v: %s", err, line)
		}
		if entry["msg"] == "request" {
			requests[entry["request"].(string)] = true
		}
		lines = append(lines, entry)
	}
	for _, entry := range lines {
		if entry["msg"] != "sign-in" {
			continue
		}
		seen[entry["step"].(string)+" "+entry["outcome"].(string)]++
		if id, _ := entry["request"].(string); !requests[id] {
			t.Errorf("no line about a request has the id of the line %v", entry)
		}
	}
	for _, want := range []string{"password accepted", "password rejected", "code rejected", "code expired", "backup_code accepted",
		"backup_code rejected", "reauthenticate accepted", "reauthenticate rejected"} {
		if seen[want] == 0 {
			t.Errorf("no line of the log has the step and outcome %q; it has %v", want, seen)
		}
	}
}
