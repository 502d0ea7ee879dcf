package telling

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// mailbox records the messages that a portal sends.
type mailbox struct {
	mu   sync.Mutex
	all  []sentNotice
	fail error // answer to every message; nil: accepted
}

type sentNotice struct {
	notice.Notice
	to string // the recipient that is stored with the message; empty: the account's address
}

// open makes the portal send mails to the mailbox, with the default quotas or without quotas.
func open(p *portal.Portal, quotas bool) *mailbox {
	m := &mailbox{}
	sender := outbox.Sender{Timeout: time.Minute, Send: func(_ context.Context, message outbox.Message) error {
		n, err := notice.Decode(message.Body)
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := errors.Join(err, m.fail); err != nil {
			return err
		}
		n.More = message.More
		m.all = append(m.all, sentNotice{n, message.Address})
		return nil
	}}
	if quotas {
		sender.Limits, sender.Rate = notice.Limits, notice.SiteRate()
	}
	p.Outbox.Set(outbox.Mail, &sender)
	return m
}

// take sends the due messages and returns the notices that arrived since the last call, sorted by
// kind.
func (m *mailbox) take(t *testing.T, p *portal.Portal) []sentNotice {
	t.Helper()
	testkit.Check(t, p.Outbox.Run(t.Context()))
	p.Outbox.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.all
	m.all = nil
	slices.SortFunc(all, func(a, b sentNotice) int { return strings.Compare(string(a.Kind)+a.to, string(b.Kind)+b.to) })
	return all
}

// kinds returns the kinds of the notices that arrived since the last call.
func (m *mailbox) kinds(t *testing.T, p *portal.Portal) string {
	t.Helper()
	var kinds []string
	for _, n := range m.take(t, p) {
		kinds = append(kinds, string(n.Kind))
	}
	return strings.Join(kinds, " ")
}

func TestOwnersAreToldOfChanges(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		mails := open(p, false)
		ada := p.AddAccount(t, "ada")
		told := func(act, want string) {
			t.Helper()
			if got := mails.kinds(t, p); got != want {
				t.Errorf("%s caused the notices %q, want %q", act, got, want)
			}
		}
		told("an account was created", "")
		b := p.Browser(t)
		b.SignIn("ada")
		told("a sign-in from a new browser", "new_browser")
		b.SignIn("ada")
		told("another one from it", "")
		phone := b.Enroll("phone")
		told("a first authenticator", "two_factor_enabled")
		for range 3 {
			portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone))
		}
		told("wrong codes", "wrong_codes")
		b.Enroll("tablet")
		told("another authenticator", "authenticator_added")
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, manage.CommandLine(), ada, "ada@example.com"))
		told("a first email address", "email_changed")
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, manage.CommandLine(), ada, "ada@example.org"))
		told("another email address", "email_changed email_changed")
		other := p.Browser(t)
		other.SignIn("ada")
		if a := other.Post("/login/backup-code", "backup_code", phone.Codes[0]); !strings.HasPrefix(a.Location, "/") {
			t.Fatalf("sign in with a backup code: %d, want a sign-in\n%s", a.Status, a.Body)
		}
		told("a backup code in a new browser", "backup_code_used new_browser")
		_, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), ada, time.Hour)
		testkit.Check(t, err)
		told("a reset", "two_factor_reset")
		testkit.Check(t, p.Manage.Passwords.Set(ctx, manage.CommandLine(), ada, "another long password"))
		told("a new password of an operator", "password_set")
		testkit.Check(t, p.Manage.Accounts.Disable(ctx, manage.CommandLine(), ada))
		told("a disabled account", "account_disabled")
		testkit.Check(t, p.Manage.Accounts.Enable(ctx, manage.CommandLine(), ada))
		told("an enabled account", "account_enabled")
		testkit.Check(t, p.Manage.Accounts.SetRole(ctx, manage.CommandLine(), ada, account.Auditor))
		told("a role", "role_changed")
		testkit.Check(t, p.Manage.Accounts.Remove(ctx, manage.CommandLine(), ada))
		told("a removed account", "account_removed")
	})
}

// A notice has the id, the time, the actor, the address and the names of its event.
func TestNoticeHasTheFactsOfItsEvent(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		mails := open(p, false)
		ada := p.AddAccount(t, "ada")
		b := p.BrowserAt(t, "127.0.0.2")
		b.SignIn("ada")
		mails.take(t, p)
		p.Clock.Move(time.Second)
		b.Enroll("phone")
		events, err := audit.List(t.Context(), p.DB.Reader(), ada.ID, audit.Cursor{}, 1)
		if err != nil || len(events) != 1 || events[0].Kind != audit.TwoFactorEnabled {
			t.Fatalf("the newest event is %+v (error %v), want two_factor_enabled", events, err)
		}
		want := []sentNotice{{Notice: notice.Notice{
			Kind: notice.TwoFactorEnabled, Event: events[0].ID, Account: ada.ID, At: events[0].At, By: audit.ByOwner,
			Address: "127.0.0.2", Browser: events[0].Browser, Name: "phone",
		}}}
		if diff := cmp.Diff(want, mails.take(t, p), cmp.AllowUnexported(sentNotice{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// After an account's address changes, notices of earlier events still go to the former address, and
// both addresses get a notice of the change.
func TestFormerAddressIsTold(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		mails := open(p, false)
		ada := p.AddAccount(t, "ada")
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, manage.CommandLine(), ada, "ada@example.com"))
		mails.take(t, p)
		mails.mu.Lock()
		mails.fail = errors.New("the mail server is down")
		mails.mu.Unlock()
		testkit.Check(t, p.Manage.Passwords.Set(ctx, manage.CommandLine(), ada, "the thief's password"))
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, manage.CommandLine(), ada, "eve@example.com"))
		mails.take(t, p)
		mails.mu.Lock()
		mails.fail = nil
		mails.mu.Unlock()
		p.Clock.Move(time.Minute)
		var got []string
		for _, n := range mails.take(t, p) {
			got = append(got, string(n.Kind)+" to "+n.to)
			if n.Former != (n.Kind == notice.EmailChanged && n.to != "") {
				t.Errorf("notice %s to %q says that it goes to a former address: %v, want %v", n.Kind, n.to, n.Former, !n.Former)
			}
		}
		want := []string{"email_changed to ", "email_changed to ada@example.com", "password_set to ada@example.com"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestChangeThatFailsTellsNobody(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		open(p, false)
		ada := p.AddAccount(t, "ada")
		undone := errors.New("undone")
		err := p.DB.Write(t.Context(), func(tx *db.Tx) error {
			testkit.Check(t, p.Login.Journal.Record(t.Context(), tx, audit.Event{At: p.Clock.Now(), AccountID: ada.ID, Kind: audit.PasswordSet, Actor: audit.ByOperator}))
			return undone
		})
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); !errors.Is(err, undone) || n != 0 {
			t.Errorf("a transaction that fails: error %v, and %d messages wait; want %v and none", err, n, undone)
		}
	})
}

// A mail that is given up leaves an event in the owner's activity and a line in the log. That
// event causes no notice.
func TestMailsThatAreGivenUpAreRecorded(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		mails := open(p, false)
		ada := p.AddAccount(t, "ada")
		mails.fail = outbox.Fail(outbox.Permanent, errors.New("550 no such user\r\nx"))
		b := p.Browser(t)
		b.SignIn("ada")
		p.Clock.Move(time.Second)
		mails.take(t, p)
		events, err := audit.List(t.Context(), p.DB.Reader(), ada.ID, audit.Cursor{}, 1)
		want := []audit.Event{{At: p.Clock.Now(), AccountID: ada.ID, Actor: audit.ByServer, Kind: audit.MailGivenUp, Outcome: audit.Refused, Detail: "new_browser", Number: 1}}
		if diff := cmp.Diff(want, events, cmpopts.IgnoreFields(audit.Event{}, "ID", "Seq", "MAC"), cmpopts.IgnoreUnexported(audit.Event{})); err != nil || diff != "" {
			t.Errorf("%v; -want +got:\n%s", err, diff)
		}
		if !strings.Contains(p.Logs.String(), `"reason":"550 no such user  x"`) {
			t.Error("the log has no line with the mail server's answer in printable characters")
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); n != 0 {
			t.Errorf("%d messages wait, want none", n)
		}
		if a := b.Get("/settings/activity"); !strings.Contains(portal.VisibleText(a.Body), "An email to you couldn’t be delivered") {
			t.Errorf("the owner's activity doesn't say that an email couldn't be delivered:\n%s", portal.VisibleText(a.Body))
		}
	})
}

// A rotation of keys seals the waiting mails under the new key. A restore deletes them.
func TestWaitingMailsAreResealedAndPurged(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		ada := p.AddAccount(t, "ada")
		set := func() {
			t.Helper()
			testkit.Check(t, p.Manage.Passwords.Set(ctx, manage.CommandLine(), ada, "another long password"))
		}
		// The sender returns an error, so that the mail waits.
		mails := open(p, false)
		mails.fail = errors.New("busy")
		set()
		keys, err := p.OpenKeys(ctx)
		testkit.Check(t, err)
		defer keys.Close()
		_, err = keys.Add(ctx)
		testkit.Check(t, err)
		_, err = keys.Rotate(ctx)
		testkit.Check(t, err)
		found, err := keys.Check(ctx)
		testkit.Check(t, err)
		if len(found.Closed) != 0 || found.ByKey[keys.Sealing()] != 2 {
			t.Errorf("sealed secrets: %+v; want the password and the mail under the new key", found)
		}
		testkit.Check(t, maintenance.PurgeForgotten(ctx, p.DB, "a backup", p.Clock.Now(), false))
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); n != 0 {
			t.Errorf("after a restore, %d messages wait, want none", n)
		}
	})
}

// A flood of notices is folded: quotas limit the mails, each notice counts in one, and a notice of a new
// password is always sent.
func TestAttack21FloodIsFolded(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		mails := open(p, true)
		ada := p.AddAccount(t, "ada")
		flood := func(n int) {
			t.Helper()
			testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
				for range n {
					for _, kind := range []audit.Kind{audit.WrongCodesNoticed, audit.PassMade} {
						if err := p.Login.Journal.Record(t.Context(), tx, audit.Event{At: p.Clock.Now(), AccountID: ada.ID, Kind: kind, Actor: audit.ByOwner}); err != nil {
							return err
						}
					}
				}
				return p.Login.Journal.Record(t.Context(), tx, audit.Event{At: p.Clock.Now(), AccountID: ada.ID, Kind: audit.PasswordChanged, Actor: audit.ByOwner})
			}))
		}
		flood(50)
		if got := mails.kinds(t, p); got != "pass_made pass_made pass_made password_changed wrong_codes" {
			t.Errorf("the first flood sent %q, want three pass_made, password_changed and wrong_codes", got)
		}
		p.Clock.Move(2 * time.Hour)
		flood(50)
		got := mails.take(t, p)
		if len(got) != 2 || got[0].Kind != notice.PasswordChanged || got[1].Kind != notice.WrongCodes {
			t.Fatalf("the second flood sent %+v, want password_changed and wrong_codes", got)
		}
		// Each notice of wrong codes was sent or waits, alone or folded into another.
		waiting := portal.CountRows(t, p, `SELECT COALESCE(SUM(1 + more), 0) FROM outbox WHERE topic = 'wrong_codes'`)
		if told := 1 + 1 + got[1].More; told+waiting != 100 {
			t.Errorf("%d notices of wrong codes were sent and %d wait, want 100 in all", told, waiting)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); n != 2 {
			t.Errorf("%d messages wait, want one of each kind", n)
		}
	})
}

// /readyz reports that the mail server refuses the password, and that a mail has waited for two hours.
// It still answers 200.
func TestReadyzNamesMailThatIsNotSent(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		mails := open(p, false)
		ada := p.AddAccount(t, "ada")
		check := func(when, want string) {
			t.Helper()
			a := p.Browser(t).Get("/readyz")
			if a.Status != 200 || !strings.Contains(a.Body, want) {
				t.Errorf("/readyz %s: %d\n%s\nwant 200 and %q", when, a.Status, a.Body, want)
			}
		}
		check("at first", "mail: ok")
		p.Clock.Move(2 * time.Second) // readyz caches its answer that long
		mails.fail = outbox.Fail(outbox.Paused, errors.New("535 wrong password"))
		testkit.Check(t, p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, "another long password"))
		mails.take(t, p)
		check("after a refusal", "mail: this server is refused, so nothing is sent for 15 minutes; see the log\n")
		p.Outbox.Set(outbox.Mail, nil)
		p.Clock.Move(2 * time.Hour)
		check("two hours later, without a sender", `mail: 1 unsent, the oldest for 2h0m0s; see "sallyport mail queue list"`)
	})
}
