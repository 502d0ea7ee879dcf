package portal

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// RawAnswer sends the bytes of a request and returns the bytes of the answer. It is for requests
// that an HTTP client refuses to send.
func RawAnswer(t *testing.T, p *Portal, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", p.Config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// Request is a request for [ToListener].
type Request struct {
	Method string
	Path   string // with the query
	Host   string // the Host header
	Header http.Header
	Form   string // URL-encoded; may be empty
}

// ToListener sends a request to the address at which the portal listens, whatever its public
// URL is.
func ToListener(t *testing.T, p *Portal, r Request) Answer {
	t.Helper()
	req, err := http.NewRequest(r.Method, "http://"+p.Config.Listen+r.Path, strings.NewReader(r.Form))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = r.Host
	if r.Form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{Status: resp.StatusCode, Location: resp.Header.Get("Location"), Body: string(body), Header: resp.Header}
}

// StreamTime limits how long a connection of [Dial] lasts. It is much longer than the gateway
// takes to notice that a visit has ended.
const StreamTime = 30 * time.Second

// Dial connects to the portal's listener. The connection times out after [StreamTime].
func Dial(t *testing.T, p *Portal) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.At)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(StreamTime))
	t.Cleanup(func() { conn.Close() })
	return conn
}
