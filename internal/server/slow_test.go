package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// host is the portal's host in the default configuration.
const host = "127.0.0.1:9091"

// pipeListener is a listener in memory. In a synctest bubble, time stands still while a
// goroutine waits for a real network connection.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9091} }

func (p *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// answersOthers reports whether another client, which isn't slow, gets the sign-in page.
func (p *pipeListener) answersOthers(t *testing.T) bool {
	t.Helper()
	conn := p.dial()
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /login HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		t.Error(err)
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// drip writes text, and then one byte a second until the connection ends.
func drip(conn net.Conn, text string) {
	go io.Copy(io.Discard, conn) // net.Pipe has no buffer: unread answers would block the server
	_, err := io.WriteString(conn, text)
	for err == nil {
		time.Sleep(time.Second)
		_, err = io.WriteString(conn, "x")
	}
}

// testSlowClient serves a portal with the configuration, and runs client on a connection to it. The
// server must close the connection after the duration want. The client notices that up to slack
// later, when it sends or reads its next byte. A second before the end, the server must answer
// other clients, which answersOthers checks.
func testSlowClient(t *testing.T, cfg config.Config, client func(*testing.T, net.Conn), want, slack time.Duration, answersOthers func(*pipeListener, *testing.T) bool) {
	p, err := server.Open(context.Background(), cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, stop := context.WithCancel(context.Background())
	network, done := &pipeListener{make(chan net.Conn), make(chan struct{})}, make(chan error, 1)
	go func() { done <- p.Serve(ctx, network) }()

	start, closed := time.Now(), make(chan time.Duration)
	conn := network.dial()
	go func() {
		client(t, conn)
		closed <- time.Since(start)
	}()
	time.Sleep(want - time.Second)
	if !answersOthers(network, t) {
		t.Error("the server doesn't answer others at the same time")
	}
	if got := <-closed; got < want || got > want+slack {
		t.Errorf("connection closed after %v, want %v", got, want)
	}
	conn.Close()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAttack149SlowClients: the server closes the connection of a slow client, and answers
// others meanwhile. It runs in a synctest bubble, so it takes no real time.
func TestAttack149SlowClients(t *testing.T) {
	const get = "GET /login HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	for name, test := range map[string]struct {
		client func(t *testing.T, conn net.Conn) // returns when the connection is closed
		want   time.Duration
	}{
		"sends nothing": {func(_ *testing.T, conn net.Conn) { io.Copy(io.Discard, conn) }, 10 * time.Second},
		"slow headers": {func(_ *testing.T, conn net.Conn) {
			drip(conn, "GET /login HTTP/1.1\r\nHost: "+host+"\r\nX-Slow: ")
		}, 10 * time.Second},
		"slow body": {func(_ *testing.T, conn net.Conn) {
			drip(conn, "POST /login HTTP/1.1\r\nHost: "+host+"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nusername=")
		}, 30 * time.Second},
		"reads slowly": {func(t *testing.T, conn net.Conn) {
			io.WriteString(conn, get)
			one := make([]byte, 1)
			for _, err := conn.Read(one); err == nil; _, err = conn.Read(one) {
				time.Sleep(time.Second)
			}
		}, 60 * time.Second},
		"idle after an answer": {func(t *testing.T, conn net.Conn) {
			go io.WriteString(conn, get)
			io.Copy(io.Discard, conn)
		}, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_LISTEN=" + host})
				if err != nil {
					t.Fatal(err)
				}
				testSlowClient(t, cfg, test.client, test.want, 2*time.Second, (*pipeListener).answersOthers)
			})
		})
	}
}
