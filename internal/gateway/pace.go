package gateway

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// stallTime is how long a stranger may take to begin a body, and for each
	// piece of an answer, which is up to 32 KiB.
	stallTime = 30 * time.Second

	// slowest is how many bytes a second a stranger's body must have on the
	// average after that: any phone sends more.
	slowest = 1 << 10
)

// unlimited lifts the server's time limits for somebody we know: a long
// transfer is not a slow client.
func unlimited(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	return errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}))
}

// paced lets a stranger's transfer take as long as it moves, so that nobody
// holds connections without a name (ATTACKS 149).
func paced(w http.ResponseWriter, r *http.Request, now func() time.Time) (http.ResponseWriter, *http.Request, error) {
	control := http.NewResponseController(w)
	answer := &pacedAnswer{w, control, now}
	if r.Body == nil || r.Body == http.NoBody {
		return answer, r, control.SetReadDeadline(time.Time{})
	}
	body := &pacedBody{ReadCloser: r.Body, control: control, begin: now()}
	slow := *r
	slow.Body = body
	return answer, &slow, body.await()
}

// pacedBody is a body that must come at some speed.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	begin   time.Time
	n       int64 // bytes so far
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	switch err {
	case nil:
		b.await()
	case io.EOF:
		// The server reads on, to learn when the client leaves; an answer may
		// take longer than the body did.
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (b *pacedBody) await() error {
	return b.control.SetReadDeadline(b.begin.Add(stallTime + time.Duration(b.n)*(time.Second/slowest)))
}

// pacedAnswer is an answer each piece of which must be taken in time; there may
// be any time between two.
type pacedAnswer struct {
	http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time
}

func (a *pacedAnswer) WriteHeader(status int) {
	a.control.SetWriteDeadline(a.now().Add(stallTime))
	a.ResponseWriter.WriteHeader(status)
}

func (a *pacedAnswer) Write(p []byte) (int, error) {
	a.control.SetWriteDeadline(a.now().Add(stallTime))
	return a.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (a *pacedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
