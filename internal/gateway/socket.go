package gateway

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
)

// clientData notes whether data came from a client over a connection that was upgraded. A
// nil *clientData reports that none came.
type clientData struct{ came atomic.Bool }

// any reports whether data came since the last call.
func (d *clientData) any() bool { return d != nil && d.came.Swap(false) }

// watchClientData returns an answer whose connection, once it is upgraded, notes what comes from
// the client.
func watchClientData(w http.ResponseWriter) (http.ResponseWriter, *clientData) {
	d := &clientData{}
	return &socketAnswer{w, d}, d
}

type socketAnswer struct {
	http.ResponseWriter
	data *clientData
}

// Hijack is for [http.ResponseController].
func (a *socketAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &socket{conn, a.data}, buffered, nil
}

// Unwrap is for [http.ResponseController].
func (a *socketAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// socket is a client's connection.
type socket struct {
	net.Conn
	data *clientData
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.data.came.Store(true)
	}
	return n, err
}
