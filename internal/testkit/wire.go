package testkit

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is a fault of a [Wire].
type Fault int

// The faults of a wire.
const (
	Whole       Fault = iota // no fault: forward everything
	Cut                      // end every connection and refuse new ones
	Held                     // forward nothing but keep connections open, as if the server had vanished
	Slow                     // forward everything, but late
	Forgetful                // forward a commit, then end the connection before the answer
	Interrupted              // forward everything until the client commits, then nothing
)

// slowBy is how late a slow wire forwards.
const slowBy = 100 * time.Millisecond

// The messages with which clients of PostgreSQL end a transaction, and the one with which a
// connection begins to listen for changes.
var (
	commit  = []byte("Q\x00\x00\x00\x0bcommit\x00")
	listens = []byte("LISTEN ")
)

// Wire is a network proxy in front of a PostgreSQL server, with faults that a test
// chooses. It is safe for concurrent use.
type Wire struct {
	listener net.Listener

	mu        sync.Mutex
	changed   *sync.Cond // its lock is mu; signals a new fault or the end of a link
	to        string
	all       Fault
	listening Fault // fault of the links that listen for changes, if all is Whole
	links     map[*link]bool
}

// link is a connection through the wire.
type link struct {
	client, server net.Conn
	listens        bool // the client listens for changes
	commits        bool // the client sent a commit that isn't answered yet
	ended          bool
}

// NewWire returns a wire to the server at a host and port. The wire is closed at the end of the
// test.
func NewWire(t testing.TB, to string) *Wire {
	t.Helper()
	// The wire listens at a loopback address that nothing else uses, so that it never takes
	// a port of 127.0.0.1 that another process expects to be free.
	listener, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{listener: listener, to: to, links: map[*link]bool{}}
	w.changed = sync.NewCond(&w.mu)
	t.Cleanup(func() {
		listener.Close()
		w.SetFault(Cut)
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

// Address returns the host and port at which the wire listens.
func (w *Wire) Address() string { return w.listener.Addr().String() }

// SetFault sets the fault of all present and future connections.
func (w *Wire) SetFault(f Fault) { w.set(func() { w.all = f }) }

// SetListenFault sets the fault of the connections that listen for changes. It has no effect
// while [Wire.SetFault] has set another fault than [Whole].
func (w *Wire) SetListenFault(f Fault) { w.set(func() { w.listening = f }) }

// MoveTo ends every connection and forwards new ones to another server, as when an address
// moves to another machine.
func (w *Wire) MoveTo(to string) {
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
		if w.faultOf(l) == Cut {
			l.end()
		}
	}
	w.changed.Broadcast()
}

func (w *Wire) faultOf(l *link) Fault {
	if w.all == Whole && l.listens {
		return w.listening
	}
	return w.all
}

// end resets both connections. The caller holds w.mu.
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
	if !w.mayForward(l, nil) {
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
		if err != nil || !w.mayForward(l, sent) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// mayForward waits for as long as the fault demands. Then it reports whether the wire forwards
// what it read: the bytes sent by the client or, if sent is nil, an answer of the server.
func (w *Wire) mayForward(l *link, sent []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.listens = l.listens || bytes.Contains(sent, listens)
	l.commits = l.commits || bytes.Contains(sent, commit)
	for !l.ended {
		switch f := w.faultOf(l); {
		case f == Held, f == Interrupted && l.commits:
			w.changed.Wait()
		case f == Cut, f == Forgetful && l.commits && sent == nil:
			return false
		case f == Slow:
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
