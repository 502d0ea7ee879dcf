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

// askTime is how long an answer may take before the run is given up.
const askTime = 30 * time.Second

// line is a connection that one question after the other goes over. It reads
// of an answer what it needs to find its end: a whole client would take more
// time than what is measured.
type line struct {
	conn net.Conn
	r    *bufio.Reader
}

func newLine(at string) (*line, error) {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	return &line{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// ask sends a request as it is and returns the answer's status.
func (l *line) ask(request []byte) (int, error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, err
	}
	first, err := l.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(first) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("no answer: %q", first)
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
		_, err := l.r.ReadSlice('\n') // after the last chunk
		return status, err
	}
	_, err = l.r.Discard(length)
	return status, err
}

// crowd asks over many connections at once.
type crowd struct {
	lines []*line
	// next returns the request number i; they are shared out in turn.
	next func(i int) []byte
	want int // status of each answer
	took [][]time.Duration
}

func newCrowd(at string, connections int, want int, next func(i int) []byte) (*crowd, error) {
	c := &crowd{next: next, want: want, took: make([][]time.Duration, connections)}
	for range connections {
		l, err := newLine(at)
		if err != nil {
			c.close()
			return nil, err
		}
		c.lines = append(c.lines, l)
	}
	return c, nil
}

func (c *crowd) close() {
	for _, l := range c.lines {
		l.conn.Close()
	}
}

// each runs one on every line at once and returns the first error.
func (c *crowd) each(one func(i int, l *line) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(c.lines))
	for i, l := range c.lines {
		c.took[i] = c.took[i][:0]
		all.Go(func() {
			l.conn.SetDeadline(time.Now().Add(askTime + time.Minute))
			errs[i] = one(i, l)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// once asks question number n and notes how long it took since begin.
func (c *crowd) once(i int, l *line, n int, begin time.Time) error {
	status, err := l.ask(c.next(n))
	if err != nil {
		return err
	}
	if status != c.want {
		return c.unlike(l, status)
	}
	c.took[i] = append(c.took[i], time.Since(begin))
	return nil
}

func (c *crowd) unlike(l *line, status int) error {
	return fmt.Errorf("%v answers %d, not %d", l.conn.RemoteAddr(), status, c.want)
}

// all returns how long each question took.
func (c *crowd) all() []time.Duration {
	var all []time.Duration
	for _, some := range c.took {
		all = append(all, some...)
	}
	return all
}

// rush asks as fast as answers come, each line one question after the other,
// until the time is over.
func (c *crowd) rush(during time.Duration) (sample, error) {
	begin := time.Now()
	err := c.each(func(i int, l *line) error {
		n := i
		for at := time.Now(); at.Sub(begin) < during; at = time.Now() {
			if err := c.once(i, l, n, at); err != nil {
				return err
			}
			n += len(c.lines)
		}
		return nil
	})
	return timed(c.all(), time.Since(begin)), err
}

// times asks so many questions as fast as answers come.
func (c *crowd) times(n int) error {
	return c.each(func(i int, l *line) error {
		for ; i < n; i += len(c.lines) {
			status, err := l.ask(c.next(i))
			if err != nil {
				return err
			}
			if status != c.want {
				return c.unlike(l, status)
			}
		}
		return nil
	})
}

// paced asks so many questions a second, whether answers come or not: those
// that find no free line wait, and their time counts from when they were due.
func (c *crowd) paced(rate float64, during time.Duration) (sample, error) {
	n := int(rate * during.Seconds())
	due := make(chan time.Time, n)
	begin := time.Now()
	go func() {
		defer close(due)
		for i := range n {
			at := begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			until(at)
			due <- at
		}
	}()
	var number sync.Mutex
	asked := 0
	err := c.each(func(i int, l *line) error {
		for at := range due {
			number.Lock()
			n := asked
			asked++
			number.Unlock()
			if err := c.once(i, l, n, at); err != nil {
				return err
			}
		}
		return nil
	})
	return timed(c.all(), time.Since(begin)), err
}

// until waits in the kernel: the runtime's timers are a millisecond late where
// nothing else goes on.
func until(at time.Time) {
	if wait := time.Until(at); wait > 0 {
		rest := syscall.NsecToTimespec(int64(wait))
		syscall.Nanosleep(&rest, nil)
	}
}
