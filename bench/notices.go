package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

const (
	// noticed is the number of accounts with notices in the queue. The constant each is the number
	// of notices of one account.
	noticed = 100
	each    = 100

	// signInEvery is the pause between two sign-ins while the queue is sent. It is longer than a
	// sign-in takes, so that no sign-in waits for the password hash of another.
	signInEvery = 100 * time.Millisecond
)

// measureNotices measures what notices of changes cost. It compares a change that has a notice with
// the change alone, and sign-ins while a full queue is sent with sign-ins without mail.
func measureNotices(b *bench) {
	b.changeWithNotice()
	b.signInsBesideNotices()
}

// changeWithNotice measures two changes: a new password, which costs a hash like most changes, and a
// new machine pass, the shortest change of which owners get a notice.
func (b *bench) changeWithNotice() {
	b.onAllCores(func() {
		p := portal.Start(b.stage, "sqlite")
		p.Outbox.Stop(b.ctx) // sending is measured below
		b.passwordWithNotice(p)
		scope, err := access.NewScope(forwardAuthPanel, "/", "", "")
		b.must(err)
		owners := make([]login.Me, inARound)
		for i := range owners {
			p.AddAccount(b.stage, nameOf(i))
			browser := p.Browser(b.stage)
			browser.SignIn(nameOf(i))
			me := login.Me{From: login.Browser{Session: browser.Cookie(sessionCookie), UserAgent: "bench"}}
			me.Session, me.Account, err = session.ByToken(b.ctx, p.DB.Reader(), me.From.Session, p.Login.Life, p.Clock.Now())
			b.must(err)
			owners[i] = me
		}
		round := 0
		change := func(sender *outbox.Sender) side {
			return func() sample {
				round++
				p.Outbox.Set(outbox.Mail, sender)
				b.must(p.DB.Write(b.ctx, func(tx *db.Tx) error { return empty(b.ctx, tx, "passes", "outbox") }))
				return b.concurrently(1, func(i int) error {
					_, err := p.Manage.Passes.Create(b.ctx, manage.Owner(owners[i]), owners[i].Account,
						pass.Pass{Name: fmt.Sprint("script ", round), Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)})
					return err
				})
			}
		}
		got := alternate(b.rounds, change(&outbox.Sender{}), change(nil))
		b.add(row{what: "A new machine pass with its notice, compared with the pass alone: p50", unit: "ms", got: medianOf(got[0], p50Of) / 1000,
			bare: medianOf(got[1], p50Of) / 1000, ratio: medianRatio(got[0], got[1], p50Of)})
	})
}

// passwordWithNotice measures new passwords that are hashed at the default costs.
func (b *bench) passwordWithNotice(p *portal.Portal) {
	quick, cost := p.Login.Passwords, p.Config.Password
	p.Login.Passwords = secret.Argon2id{MemoryKiB: uint32(cost.MemoryKiB), Iterations: uint32(cost.Iterations)}
	defer func() { p.Login.Passwords = quick }()
	owner := p.AddAccount(b.stage, "alice")
	change := func(sender *outbox.Sender) side {
		return func() sample {
			p.Outbox.Set(outbox.Mail, sender)
			took, start := make([]time.Duration, b.hashes), time.Now()
			for i := range took {
				at := time.Now()
				b.must(p.Manage.Passwords.Set(b.ctx, manage.CommandLine(), owner, portal.Password))
				took[i] = time.Since(at)
			}
			return timed(took, time.Since(start))
		}
	}
	got := alternate(b.rounds, change(&outbox.Sender{}), change(nil))
	b.add(row{what: "A new password with its notice, compared with the password alone: p50", unit: "ms", got: medianOf(got[0], p50Of) / 1000,
		bare: medianOf(got[1], p50Of) / 1000, ratio: medianRatio(got[0], got[1], p50Of), target: atMost(1.05)})
}

// empty deletes all rows of tables.
func empty(ctx context.Context, tx *db.Tx, tables ...string) error {
	for _, table := range tables {
		if _, err := db.Exec(ctx, tx, `DELETE FROM `+table); err != nil {
			return err
		}
	}
	return nil
}

// signInsBesideNotices compares sign-ins at a server whose queue has ten thousand notices with
// sign-ins at a server without mail. The mail server accepts one mail a second.
func (b *bench) signInsBesideNotices() {
	t := b.hashedPopulation()
	receiver := smtpd.Start(b.stage, smtpd.Options{Every: time.Second})
	var took [2][]time.Duration // times of all rounds, since one round has too few for a p99
	side := func(i int, settings ...string) side {
		return func() (s sample) {
			b.within(func() {
				of := *t
				of.bench, of.settings = b, settings
				of.queueNotices()
				m := &mixed{population: t, gate: b.startGate(t.dir, "", settings...), client: b.newClient()}
				m.client.Jar = nil // requests carry the cookies of many browsers
				took[i] = append(took[i], m.signInsInTurn()...)
			})
			return s
		}
	}
	alternate(b.rounds, side(0, "SALLYPORT_MAIL_URL=smtp://"+net.JoinHostPort(receiver.Host, receiver.Port), "SALLYPORT_MAIL_FROM=noreply@example.com"), side(1))
	beside, alone := timed(took[0], time.Second), timed(took[1], time.Second)
	for _, one := range []struct {
		name   string
		value  func(sample) float64
		target *target
	}{{"p50", p50Of, nil}, {"p99", p99Of, atMost(1.05)}} {
		b.add(row{what: "Sign-in with code beside 10,000 notices, compared with none: " + one.name, unit: "ms",
			got: one.value(beside) / 1000, bare: one.value(alone) / 1000, ratio: one.value(beside) / one.value(alone), target: one.target})
	}
}

// queueNotices fills the population's queue of notices, or empties it if no mail is configured. The
// population's server must not be running.
func (t *population) queueNotices() {
	p := t.open()
	defer p.Close()
	now := time.Now()
	t.must(p.DB.Write(t.ctx, func(tx *db.Tx) error {
		if err := empty(t.ctx, tx, "outbox", "outbox_quotas"); err != nil || !p.Outbox.Has(outbox.Mail) {
			return err
		}
		for i := range noticed * each {
			n := notice.Notice{Kind: notice.PassMade, Account: idOf("account", i%noticed), At: now, By: "owner", Name: "script", Browser: "bench"}
			m := outbox.Message{Kind: outbox.Mail, AccountID: n.Account, Topic: string(n.Kind), Body: n.Encode()}
			if err := outbox.Add(context.WithoutCancel(t.ctx), tx, p.Login.Ring, m, now); err != nil {
				return err
			}
		}
		return nil
	}))
}

// signInsInTurn lets users sign in at a slow, even rate, and returns how long each took.
func (m *mixed) signInsInTurn() (took []time.Duration) {
	start := time.Now()
	for next := start; time.Since(start) < m.steady; next = next.Add(signInEvery) {
		sleepUntil(next)
		begin := time.Now()
		m.must(m.signIn(&operation{account: m.nextAccount()}))
		took = append(took, time.Since(begin))
	}
	return took
}
