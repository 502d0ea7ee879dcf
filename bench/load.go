package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// requestTimeout is how long an answer may take before the run fails.
const requestTimeout = 30 * time.Second

// connection sends one request after the other. It parses an answer only as far as needed to
// find the answer's end: a complete HTTP client would use more processor time than the server
// that is measured.
type connection struct {
	conn net.Conn
	r    *bufio.Reader
}

func newConnection(at string) (*connection, error) {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	return &connection{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// ask sends the bytes of a request and returns the status of the answer.
func (l *connection) ask(request []byte) (int, error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, err
	}
	first, err := l.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(first) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("not a status line: %q", first)
	}
	status, err := strconv.Atoi(string(first[9:12]))
	if err != nil {
		return 0, err
	}
	length, chunked := 0, false
	for {
		field, err := l.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(field) <= len("\r\n") {
			break
		}
		name, value, _ := bytes.Cut(field, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if chunked {
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(l.r)); err != nil {
			return 0, err
		}
		_, err := l.r.ReadSlice('\n') // the empty line after the last chunk
		return status, err
	}
	_, err = l.r.Discard(length)
	return status, err
}

// loadClient sends requests over many connections at once.
type loadClient struct {
	connections []*connection
	next        func(i int) []byte // returns the i-th request
	want        int                // status that every answer must have
	took        [][]time.Duration  // times of the answers, for each connection
}

func newLoadClient(at string, connections int, want int, next func(i int) []byte) (*loadClient, error) {
	c := &loadClient{next: next, want: want, took: make([][]time.Duration, connections)}
	for range connections {
		l, err := newConnection(at)
		if err != nil {
			c.close()
			return nil, err
		}
		c.connections = append(c.connections, l)
	}
	return c, nil
}

func (c *loadClient) close() {
	for _, l := range c.connections {
		l.conn.Close()
	}
}

// each calls the function one for all connections at the same time and returns the errors.
func (c *loadClient) each(one func(i int, l *connection) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(c.connections))
	for i, l := range c.connections {
		c.took[i] = c.took[i][:0]
		all.Go(func() {
			l.conn.SetDeadline(time.Now().Add(requestTimeout + time.Minute))
			errs[i] = one(i, l)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// askTimed sends request n over connection i and records the time from start to the
// answer.
func (c *loadClient) askTimed(i int, l *connection, n int, start time.Time) error {
	status, err := l.ask(c.next(n))
	if err != nil {
		return err
	}
	if status != c.want {
		return c.statusError(l, status)
	}
	c.took[i] = append(c.took[i], time.Since(start))
	return nil
}

func (c *loadClient) statusError(l *connection, status int) error {
	return fmt.Errorf("%v answers %d, not %d", l.conn.RemoteAddr(), status, c.want)
}

// times returns the time of every answer.
func (c *loadClient) times() []time.Duration {
	var all []time.Duration
	for _, some := range c.took {
		all = append(all, some...)
	}
	return all
}

// saturate sends requests for the given time. Each connection sends the next request as soon
// as the answer to the last one has arrived.
func (c *loadClient) saturate(during time.Duration) (sample, error) {
	start := time.Now()
	err := c.each(func(i int, l *connection) error {
		n := i
		for at := time.Now(); at.Sub(start) < during; at = time.Now() {
			if err := c.askTimed(i, l, n, at); err != nil {
				return err
			}
			n += len(c.connections)
		}
		return nil
	})
	return timed(c.times(), time.Since(start)), err
}

// send sends n requests as fast as answers arrive, without measuring.
func (c *loadClient) send(n int) error {
	return c.each(func(i int, l *connection) error {
		for ; i < n; i += len(c.connections) {
			status, err := l.ask(c.next(i))
			if err != nil {
				return err
			}
			if status != c.want {
				return c.statusError(l, status)
			}
		}
		return nil
	})
}

// atRate sends requests at the given rate per second, whether answers arrive or not. A request
// that finds no free connection waits for one, and its time counts from when it was due.
func (c *loadClient) atRate(rate float64, during time.Duration) (sample, error) {
	n := int(rate * during.Seconds())
	due := make(chan time.Time, n)
	start := time.Now()
	go func() {
		defer close(due)
		for i := range n {
			at := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			sleepUntil(at)
			due <- at
		}
	}()
	var mu sync.Mutex
	sent := 0
	err := c.each(func(i int, l *connection) error {
		for at := range due {
			mu.Lock()
			n := sent
			sent++
			mu.Unlock()
			if err := c.askTimed(i, l, n, at); err != nil {
				return err
			}
		}
		return nil
	})
	return timed(c.times(), time.Since(start)), err
}

// sleepUntil sleeps in the kernel. The timers of Go's runtime are up to a millisecond late
// in an otherwise idle process.
func sleepUntil(at time.Time) {
	if wait := time.Until(at); wait > 0 {
		rest := syscall.NsecToTimespec(int64(wait))
		syscall.Nanosleep(&rest, nil)
	}
}
