package telling

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Attack D-3 causes ten thousand notices to a hundred accounts, while the mail server takes one mail a
// second. Sign-ins don't wait for mails. The notices that are an owner's last defence are sent first
// although they were stored last, the others are folded, and no notice is lost.
func TestD3FloodOfNoticesWhileTheServerIsSlow(t *testing.T) {
	const accounts, each = 100, 100
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		seconds, sent := make(chan struct{}), make(chan outbox.Message, accounts*each)
		p.Outbox.Set(outbox.Mail, &outbox.Sender{Timeout: time.Minute, Limits: notice.Limits, Rate: notice.SiteRate(), Send: func(ctx context.Context, m outbox.Message) error {
			select {
			case <-seconds:
			case <-ctx.Done():
				return ctx.Err()
			}
			sent <- m
			return nil
		}})
		record := func(kind audit.Kind, names ...string) {
			t.Helper()
			testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) error {
				for _, name := range names {
					if err := p.Login.Journal.Record(ctx, tx, audit.Event{At: p.Clock.Now(), AccountID: name, Kind: kind, Actor: audit.ByOwner}); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		p.AddAccount(t, "ada")
		var names []string
		for i := range accounts {
			names = append(names, fmt.Sprint("account-", i))
		}
		for range each {
			record(audit.PassMade, names...)
		}
		for _, kind := range []audit.Kind{audit.PasswordChanged, audit.TwoFactorDisabled, audit.AuthenticatorRemoved} {
			record(kind, "account-7")
		}

		// Every worker of the queue waits for the server.
		testkit.Check(t, p.Outbox.Run(ctx))
		claimed := `SELECT COUNT(*) FROM outbox WHERE claimed_until IS NOT NULL`
		testkit.Until(t, "the queue waits for the server", func() bool { return portal.CountRows(t, p, claimed) == 4 })
		for range 5 {
			p.Browser(t).SignIn("ada") // in a new browser, which causes a notice too
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox WHERE topic = 'new_browser'`); n != 5 || len(sent) > 0 {
			t.Errorf("the queue has the notices of %d sign-ins, and %d mails were sent; want 5 and none", n, len(sent))
		}

		// Four mails of other notices were being sent. While three of them are accepted, three more of
		// that kind may begin.
		told, defences := 0, 0
		arrived := func(m outbox.Message) {
			told += 1 + m.More
			if notice.Kind(m.Topic).IsDefence() {
				defences++
			}
		}
		for range 4 + 3 + 3 {
			p.Clock.Move(time.Second)
			seconds <- struct{}{}
			m := <-sent
			arrived(m)
			testkit.Until(t, "the queue waits for the server again", func() bool {
				return portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox WHERE id = $1`, m.ID) == 0 && portal.CountRows(t, p, claimed) == 4
			})
		}
		if defences != 3 {
			t.Errorf("in 10 seconds %d of the 3 notices arrived that are an owner's last defence, want all", defences)
		}

		close(seconds) // the server becomes fast
		due := `SELECT COUNT(*) FROM outbox WHERE due_at <= $1 OR claimed_until IS NOT NULL`
		for portal.CountRows(t, p, due, db.At{Time: p.Clock.Now()}) > 0 {
			testkit.Check(t, p.Outbox.Run(ctx))
			p.Outbox.Wait()
		}
		if mails, want := 10+len(sent), accounts*3+3+3; mails != want {
			t.Errorf("%d mails were sent in all, want %d", mails, want)
		}
		for len(sent) > 0 {
			arrived(<-sent)
		}
		rows := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`)
		waiting := portal.CountRows(t, p, `SELECT COALESCE(SUM(1 + more), 0) FROM outbox`)
		if all := accounts*each + 3 + 5; rows != accounts+1 || told+waiting != all {
			t.Errorf("%d messages with %d notices wait, and %d notices were sent; want %d messages, and %d notices in all", rows, waiting, told, accounts+1, all)
		}
	})
}
