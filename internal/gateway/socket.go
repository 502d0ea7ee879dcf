package gateway

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
)

// clientData records whether a client sent data over an upgraded connection. A nil *clientData
// reports that it didn't. Concurrent use is safe.
type clientData struct{ arrived atomic.Bool }

// hasArrived reports whether data arrived since the last call.
func (d *clientData) hasArrived() bool { return d != nil && d.arrived.Swap(false) }

// watchClientData returns a writer to use in place of w, and a clientData. After an upgrade, the
// connection of the returned writer records there that the client sent data.
func watchClientData(w http.ResponseWriter) (http.ResponseWriter, *clientData) {
	d := &clientData{}
	return &socketAnswer{w, d}, d
}

type socketAnswer struct {
	http.ResponseWriter
	data *clientData
}

// Hijack implements the interface of [http.ResponseController].
func (a *socketAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &socket{conn, a.data}, buffered, nil
}

// Unwrap implements the interface of [http.ResponseController].
func (a *socketAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// socket is an upgraded connection of a client.
type socket struct {
	net.Conn
	data *clientData
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.data.arrived.Store(true)
	}
	return n, err
}
