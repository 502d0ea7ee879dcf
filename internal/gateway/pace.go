package gateway

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// stallTime is how long a client without a visit may take to begin a body, and to read
	// each piece of an answer. A piece has up to 32 KiB.
	stallTime = 30 * time.Second

	// minBodyRate is the average rate, in bytes a second, at which a client without a visit must
	// send the body after stallTime. Any phone sends faster.
	minBodyRate = 1 << 10
)

// liftTimeLimits removes the server's time limits for a client with a visit or pass, whose
// long transfers are no attack.
func liftTimeLimits(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	return errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}))
}

// withPace limits the transfers of a client without a visit: they may take any time, but not
// stall. Otherwise a client could hold many connections without an account (attack 149).
func withPace(w http.ResponseWriter, r *http.Request, now func() time.Time) (*pacedAnswer, *http.Request, error) {
	control := http.NewResponseController(w)
	answer := &pacedAnswer{w, control, now, r.ProtoMajor > 1}
	if r.Body == nil || r.Body == http.NoBody {
		return answer, r, control.SetReadDeadline(time.Time{})
	}
	body := &pacedBody{ReadCloser: r.Body, control: control, start: now()}
	slow := *r
	slow.Body = body
	return answer, &slow, body.extendDeadline()
}

// pacedBody is a body that must arrive at minBodyRate.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	start   time.Time
	n       int64 // bytes read
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	switch err {
	case nil:
		b.extendDeadline()
	case io.EOF:
		// The server keeps reading to notice when the client closes the connection. The
		// panel may take longer for its answer than the client did for the body.
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (b *pacedBody) extendDeadline() error {
	return b.control.SetReadDeadline(b.start.Add(stallTime + time.Duration(b.n)*(time.Second/minBodyRate)))
}

// pacedAnswer is an answer of which the client must read each piece within stallTime. Any time
// may pass between two pieces.
type pacedAnswer struct {
	http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time

	// multiplexed is true in HTTP/2, where a deadline ends the answer even while the panel pauses. A
	// deadline of HTTP/1.1 ends only writes.
	multiplexed bool
}

func (a *pacedAnswer) WriteHeader(status int) {
	a.extendDeadline()
	a.ResponseWriter.WriteHeader(status)
	if status < 200 {
		a.pause() // this answer was sent, and the final one may take any time
	}
}

func (a *pacedAnswer) Write(p []byte) (int, error) {
	a.extendDeadline()
	return a.ResponseWriter.Write(p)
}

// FlushError implements the interface of [http.ResponseController].
func (a *pacedAnswer) FlushError() error {
	a.extendDeadline()
	err := a.control.Flush()
	a.pause()
	return err
}

func (a *pacedAnswer) extendDeadline() { a.control.SetWriteDeadline(a.now().Add(stallTime)) }

// pause removes the deadline in HTTP/2. It must be called only when everything written so far has
// been sent.
func (a *pacedAnswer) pause() {
	if a.multiplexed {
		a.control.SetWriteDeadline(time.Time{})
	}
}

// end must be called when the answer is complete. The server sends the rest of it after that.
func (a *pacedAnswer) end() {
	if a.multiplexed {
		a.extendDeadline()
	}
}

// Unwrap implements the interface of [http.ResponseController].
func (a *pacedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
