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

// host is what the portal answers for unless the configuration says otherwise.
const host = "127.0.0.1:9091"

// pipes is a listener without a network: in a test's own time a goroutine that
// waits for a real one would hold time still.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9091} }

func (p *pipes) dial() net.Conn {
	mine, theirs := net.Pipe()
	p.conns <- theirs
	return mine
}

// served reports whether somebody quick gets the sign-in page.
func (p *pipes) served(t *testing.T) bool {
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

// drip writes text, and then a byte a second until the connection ends.
func drip(conn net.Conn, text string) {
	go io.Copy(io.Discard, conn) // whatever is answered
	_, err := io.WriteString(conn, text)
	for err == nil {
		time.Sleep(time.Second)
		_, err = io.WriteString(conn, "x")
	}
}

// TestAttack149SlowClients: whoever is slow is cut off, and others are served
// meanwhile. Time is the test's own.
func TestAttack149SlowClients(t *testing.T) {
	const get = "GET /login HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	for name, test := range map[string]struct {
		client func(t *testing.T, conn net.Conn) // returns when it is cut off
		want   time.Duration
	}{
		"says nothing": {func(_ *testing.T, conn net.Conn) { io.Copy(io.Discard, conn) }, 10 * time.Second},
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
				p, err := server.Open(context.Background(), cfg, time.Now, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				ctx, stop := context.WithCancel(context.Background())
				network, done := &pipes{make(chan net.Conn), make(chan struct{})}, make(chan error, 1)
				go func() { done <- p.Serve(ctx, network) }()

				begin, cut := time.Now(), make(chan time.Duration)
				conn := network.dial()
				go func() {
					test.client(t, conn)
					cut <- time.Since(begin)
				}()
				time.Sleep(test.want - time.Second)
				if !network.served(t) {
					t.Error("others aren't served meanwhile")
				}
				// It hears of it with its next byte.
				if got := <-cut; got < test.want || got > test.want+2*time.Second {
					t.Errorf("cut off after %v, want %v", got, test.want)
				}
				conn.Close()
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
