package telling

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

// silent accepts connections and sends nothing.
type silent struct {
	address string
	opened  atomic.Int32
	close   func()
}

func startSilent(t *testing.T) *silent {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	s := &silent{address: listener.Addr().String()}
	var (
		mu  sync.Mutex
		all []net.Conn
	)
	s.close = sync.OnceFunc(func() {
		listener.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range all {
			conn.Close()
		}
	})
	t.Cleanup(s.close)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.opened.Add(1)
			mu.Lock()
			all = append(all, conn)
			mu.Unlock()
		}
	}()
	return s
}

// TestSilentServers uses a mail server and a webhook receiver that accept every connection but send
// nothing, so that every sender waits. Users still sign in and change their accounts, /readyz says what
// waits, the server stops in time, and after its next start each message arrives once.
func TestSilentServers(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			const changes, senders = 6, 4
			dir, mute, hook := t.TempDir(), startSilent(t), startSilent(t)
			secret := filepath.Join(dir, "webhook-secret")
			testkit.Check(t, os.WriteFile(secret, []byte(hookSecret+"\n"), 0o600))
			settings := []string{"SALLYPORT_MAIL_FROM=portal@example.com", "SALLYPORT_WEBHOOK_SECRET_FILE=" + secret, "SALLYPORT_WEBHOOK_NETWORKS=127.0.0.1"}
			if url := testkit.MigratedURL(t, engine, dir); engine == "postgres" {
				settings = append(settings, "SALLYPORT_DATABASE="+url)
			}
			clock := testkit.NewClock()
			p := portal.StartIn(t, dir, clock, append(settings, "SALLYPORT_MAIL_URL=smtp://"+mute.address, "SALLYPORT_WEBHOOK_URL=http://"+hook.address)...)
			ada, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "ada", Email: "ada@example.com"}, portal.Password)
			testkit.Check(t, err)
			for i := range changes {
				testkit.Check(t, p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, fmt.Sprint("another long password ", i)))
			}
			testkit.Until(t, "every sender waits", func() bool {
				testkit.Check(t, p.Outbox.Run(t.Context()))
				return mute.opened.Load() == senders && hook.opened.Load() == senders
			})

			b := p.Browser(t)
			if a := b.Post("/login", "username", "ada", "password", fmt.Sprint("another long password ", changes-1)); a.Location != "/" {
				t.Errorf("sign-in while every sender waits: %s, want /", portal.Summary(a))
			}
			if a := b.Post("/settings/profile", "display_name", "Ada"); a.Location != "/settings/profile?notice=profile_saved" {
				t.Errorf("change the profile while every sender waits: %s, want the notice profile_saved", portal.Summary(a))
			}
			readyz := func(want ...string) {
				t.Helper()
				for _, line := range want {
					if a := p.Browser(t).Get("/readyz"); a.Status != 200 || !strings.Contains(a.Body, line) {
						t.Errorf("readyz: %d\n%s\nwant 200 and %q", a.Status, a.Body, line)
					}
				}
			}
			readyz("mail: ok\n", "webhook: ok\n")
			clock.Move(61 * time.Minute)
			readyz("mail: 7 unsent, the oldest for 1h1m0s", "webhook: 7 unsent, the oldest for 1h1m0s") // the changes and the sign-in

			began := time.Now()
			p.Stop()
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("the server stopped after %v, want at most 30s", took)
			}
			good, receiver := smtpd.Start(t, smtpd.Options{}), startHook(t)
			p = portal.StartIn(t, dir, clock, append(settings, "SALLYPORT_MAIL_URL=smtp://"+net.JoinHostPort(good.Host, good.Port), "SALLYPORT_WEBHOOK_URL="+receiver.URL)...)
			testkit.Until(t, "the queue is empty", func() bool {
				clock.Move(time.Minute)
				testkit.Check(t, p.Outbox.Run(t.Context()))
				p.Outbox.Wait()
				return portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`) == 0
			})
			ids := map[string]bool{}
			for _, one := range receiver.requests() {
				ids[one.id] = true
			}
			if mails, requests := len(good.Mails()), len(receiver.requests()); mails != changes+1 || requests != changes+1 || len(ids) != changes+1 {
				t.Errorf("%d mails and %d requests with %d different events arrived, want %d of each", mails, requests, len(ids), changes+1)
			}
			readyz("mail: ok\n", "webhook: ok\n")
		})
	}
}
