package testkit

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// Harm is what a [Wire] does to those who talk over it.
type Harm int

// What a wire may do.
const (
	Whole       Harm = iota // pass everything on
	Cut                     // end every connection, and refuse new ones
	Held                    // pass nothing on and say nothing, as a machine does that is gone
	Slow                    // pass everything on, late
	Forgetful               // let commits through, and end the connection in place of their answer
	Interrupted             // let no commit through, and say nothing more
)

// slowBy is how late what a slow wire passes on comes.
const slowBy = 100 * time.Millisecond

// What PostgreSQL's clients send: the end of a transaction, and the first
// statement of a node's connection that hears of changes.
var (
	commit  = []byte("Q\x00\x00\x00\x0bcommit\x00")
	watches = []byte("LISTEN ")
)

// Wire is the way to a PostgreSQL server, which a test harms. It is safe for
// concurrent use.
type Wire struct {
	listener net.Listener

	mu       sync.Mutex
	changed  *sync.Cond // of mu: a harm, or a link's end
	to       string
	all      Harm
	watching Harm // of the links that hear of changes, where all is Whole
	links    map[*link]bool
}

// link is a connection over the wire.
type link struct {
	client, server net.Conn
	watches        bool // it hears of changes
	commits        bool // it sent a commit
	ended          bool
}

// NewWire returns a wire to a host and port, which ends with the test.
func NewWire(t testing.TB, to string) *Wire {
	t.Helper()
	// An address of its own: who binds any port of 127.0.0.1 could be given this
	// one.
	listener, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{listener: listener, to: to, links: map[*link]bool{}}
	w.changed = sync.NewCond(&w.mu)
	t.Cleanup(func() {
		listener.Close()
		w.Do(Cut)
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.carry(conn)
		}
	}()
	return w
}

// Address is where the wire begins: host and port.
func (w *Wire) Address() string { return w.listener.Addr().String() }

// Do harms every connection, and those to come.
func (w *Wire) Do(h Harm) { w.set(func() { w.all = h }) }

// DoToWatching harms only the connections that hear of changes.
func (w *Wire) DoToWatching(h Harm) { w.set(func() { w.watching = h }) }

// Turn leads to another server, as an address that moves does.
func (w *Wire) Turn(to string) {
	w.set(func() {
		w.to = to
		for l := range w.links {
			l.end()
		}
	})
}

func (w *Wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	for l := range w.links {
		if w.harmOf(l) == Cut {
			l.end()
		}
	}
	w.changed.Broadcast()
}

func (w *Wire) harmOf(l *link) Harm {
	if w.all == Whole && l.watches {
		return w.watching
	}
	return w.all
}

// end resets both connections; the wire is locked.
func (l *link) end() {
	l.ended = true
	for _, conn := range []net.Conn{l.client, l.server} {
		if conn != nil {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
}

func (w *Wire) carry(client net.Conn) {
	l := &link{client: client}
	w.mu.Lock()
	w.links[l] = true
	w.mu.Unlock()
	defer w.set(func() {
		l.end()
		delete(w.links, l)
	})
	if !w.passes(l, nil) {
		return
	}
	w.mu.Lock()
	to := w.to
	w.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	w.set(func() { l.server = server })
	var up sync.WaitGroup
	up.Go(func() { w.copy(l, server, client, true) })
	w.copy(l, client, server, false)
	w.set(l.end)
	up.Wait()
}

func (w *Wire) copy(l *link, to, from net.Conn, up bool) {
	defer w.set(l.end)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		var sent []byte
		if up {
			sent = buffer[:n]
		}
		if err != nil || !w.passes(l, sent) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// passes waits until what a client sent, or with nil its answer, may pass on, or
// reports false where it mustn't.
func (w *Wire) passes(l *link, sent []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.watches = l.watches || bytes.Contains(sent, watches)
	l.commits = l.commits || bytes.Contains(sent, commit)
	for !l.ended {
		switch h := w.harmOf(l); {
		case h == Held, h == Interrupted && l.commits:
			w.changed.Wait()
		case h == Cut, h == Forgetful && l.commits && sent == nil:
			return false
		case h == Slow:
			w.mu.Unlock()
			time.Sleep(slowBy)
			w.mu.Lock()
			return !l.ended
		default:
			l.commits = l.commits && sent != nil
			return true
		}
	}
	return false
}
