package sessions

import (
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// interrupter is a proxy in front of PostgreSQL. It can run a function before it forwards a chosen
// message of a client. A message executes or prepares one statement.
type interrupter struct {
	mu    sync.Mutex
	after int    // number of messages to forward first
	run   func() // may be nil
}

// interrupted returns another portal on the database and the key ring of p, and the proxy through
// which that portal reads and writes. p must be on PostgreSQL and have the given settings.
func interrupted(t *testing.T, p *portal.Portal, settings ...string) (*portal.Portal, *interrupter) {
	t.Helper()
	at, err := url.Parse(p.Config.Database.Reveal())
	testkit.Check(t, err)
	listener, err := net.Listen("tcp", "127.0.0.4:0") // as in testkit.NewWire
	testkit.Check(t, err)
	t.Cleanup(func() { listener.Close() })
	i, server := &interrupter{}, at.Host
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			go forward(upstream, client, i.message)
			go forward(client, upstream, func() {})
		}
	}()
	at.Host = listener.Addr().String()
	return portal.Start(t, "postgres", append(settings, "SALLYPORT_DATABASE="+at.String(), "SALLYPORT_DATA_DIR="+p.Config.DataDir)...), i
}

// forward copies from one connection to another until one of them ends. It calls notify before each
// write.
func forward(to, from net.Conn, notify func()) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		notify()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// message counts a message to the database, and runs the function before the message that was
// chosen.
func (i *interrupter) message() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.after--; i.after < 0 && i.run != nil {
		run := i.run
		i.run = nil
		run()
	}
}

// set makes the proxy call run once, after it has forwarded a number of messages. It reports
// whether the proxy has called the function that was set before.
func (i *interrupter) set(after int, run func()) (called bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	called = i.run == nil
	i.after, i.run = after, run
	return called
}

// door is a request.
type door struct {
	path    string
	cookies map[string]string
	form    []string // pairs of name and value; nil for GET
	gone    bool     // it may be answered with 404
}

// open makes the request in a new browser.
func (d door) open(t *testing.T, p *portal.Portal) portal.Answer {
	b := p.Browser(t)
	b.Header.Set("Accept", "text/html")
	for name, value := range d.cookies {
		b.SetCookie(name, value)
	}
	if d.form == nil {
		return b.Get(d.path)
	}
	return b.Post(d.path, d.form...)
}

// cookiesOf returns the browser's cookies at the portal.
func cookiesOf(b *portal.Browser) map[string]string {
	all := map[string]string{}
	for _, name := range []string{portal.SessionCookie, portal.AttemptCookie, portal.DeviceCookie} {
		if value := b.Cookie(name); value != "" {
			all[name] = value
		}
	}
	return all
}

// ownedTables returns the tables with rows of accounts, without the audit log's. A table comes
// after those to which it refers.
func ownedTables() (all []string) {
	for _, row := range ownedRows {
		if row.table != "events" && !slices.Contains(all, row.table) {
			all = append(all, row.table)
		}
	}
	return all
}

// saveAccounts returns a function that gives all accounts and their rows back the state that
// they have now.
func saveAccounts(t *testing.T, p *portal.Portal) (restore func()) {
	t.Helper()
	ctx := context.Background()
	run := func(statements ...string) {
		testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) error {
			tx.Changed("")
			for _, statement := range statements {
				if _, err := db.Exec(ctx, tx, statement); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	back := []string{`DELETE FROM accounts`, `DELETE FROM ledger`}
	for _, table := range ownedTables() {
		run(`CREATE TABLE saved_` + table + ` AS SELECT * FROM ` + table)
		back = append(back, `INSERT INTO `+table+` SELECT * FROM saved_`+table)
	}
	return func() { run(back...) }
}

// maxMessages is more than a request sends to the database.
const maxMessages = 100

// interruptEach repeats a request, and each time runs change before a different statement of the
// request. It calls check with each answer. p is a portal on the same database, whose connections
// aren't interrupted; restore undoes the change and what the request did.
func interruptEach(t *testing.T, p *portal.Portal, i *interrupter, restore, change func(), request func() portal.Answer, check func(message int, a portal.Answer)) {
	t.Helper()
	for after := range maxMessages {
		restore()
		changed := make(chan struct{})
		i.set(after, func() {
			go func() {
				defer close(changed)
				change()
			}()
			for !isDone(changed) && !anyWaitsForALock(p) {
			}
		})
		a := request()
		if !i.set(0, nil) {
			if after < 2 {
				t.Error("the request sends no message to the database, want at least one")
			}
			return // it sends no further message
		}
		<-changed
		check(after, a)
	}
	t.Errorf("the request sends %d messages to the database, want fewer", maxMessages)
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(time.Millisecond):
		return false
	}
}

// anyWaitsForALock reports whether a transaction waits for a row that another one has locked.
func anyWaitsForALock(p *portal.Portal) bool {
	n := 0
	err := db.One(context.Background(), p.DB.Reader(), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`, nil, &n)
	return err == nil && n > 0
}
