package gateway

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
)

// heard notes whether data came from a client over a connection that was upgraded. Nil
// never does.
type heard struct{ data atomic.Bool }

// any reports whether data came since the last call.
func (h *heard) any() bool { return h != nil && h.data.Swap(false) }

// listen returns an answer whose connection, once it is upgraded, notes what comes from
// the client.
func listen(w http.ResponseWriter) (http.ResponseWriter, *heard) {
	h := &heard{}
	return &socketAnswer{w, h}, h
}

type socketAnswer struct {
	http.ResponseWriter
	heard *heard
}

// Hijack is for [http.ResponseController].
func (a *socketAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &socket{conn, a.heard}, buffered, nil
}

// Unwrap is for [http.ResponseController].
func (a *socketAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// socket is a client's connection.
type socket struct {
	net.Conn
	heard *heard
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.heard.data.Store(true)
	}
	return n, err
}
