package bench

import (
	"net/http"
	"net/netip"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// hashes are made in each round; every second or so sets off a collection of
// the 19 MiB that each leaves behind.
const hashes = 4

// BenchmarkSignInWithCode holds a whole sign-in, password and code, against
// its one password hash at the costs that are the default.
func BenchmarkSignInWithCode(b *testing.B) {
	// A browser that is known, as on most days, has budgets of its own; one
	// that isn't counts for its network too.
	for name, known := range map[string]bool{"known-browser": true, "unknown-browser": false} {
		b.Run(name, func(b *testing.B) {
			p, phone, bare := open(b)
			from := login.Browser{Address: netip.MustParseAddr("127.0.0.1"), UserAgent: "bench"}
			compare(b, hashes, func() {
				p.Clock.Move(totp.Period) // each step gives one code
				begun, err := p.Login.SubmitPassword(b.Context(), "alice", portal.Password, "/", "", from)
				if err != nil {
					b.Fatal(err)
				}
				done, err := p.Login.SubmitCode(b.Context(), begun.Attempt.Reveal(), phone.Code(0), "", "", from)
				if err != nil || done.Stage != login.StageDone {
					b.Fatal(done.Stage, err)
				}
				if known {
					from.Device = done.Device.Reveal()
				}
			}, bare)
		})
	}
	// Both requests over loopback; the browser's part is counted too.
	b.Run("http", func(b *testing.B) {
		p, phone, bare := open(b)
		compare(b, hashes, func() {
			p.Clock.Move(totp.Period)
			browser := p.Browser(b)
			browser.SignIn("alice")
			if a := browser.Post("/login/code", "code", phone.Code(0)); a.Status != http.StatusSeeOther || a.Location != "/" {
				b.Fatalf("code: %d %s", a.Status, a.Location)
			}
		}, bare)
	})
}

// open starts a portal on SQLite with an account and its phone, and returns
// them with the bare password hash.
func open(b *testing.B) (*portal.Portal, *portal.Phone, func()) {
	p := portal.Start(b, "sqlite")
	cost := p.Config.Password
	p.Login.Passwords = secret.Argon2id{MemoryKiB: uint32(cost.MemoryKiB), Iterations: uint32(cost.Iterations)}
	salt := make([]byte, 16)
	return p, addAlice(b, p), func() {
		argon2.IDKey([]byte(portal.Password), salt, uint32(cost.Iterations), uint32(cost.MemoryKiB), 1, secret.Argon2HashBytes)
	}
}

// addAlice adds an account at the costs of p and returns its phone.
func addAlice(b *testing.B, p *portal.Portal) *portal.Phone {
	p.AddAccount(b, "alice")
	browser := p.Browser(b)
	browser.SignIn("alice")
	return browser.Enroll("Phone")
}
