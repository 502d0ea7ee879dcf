package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
)

const (
	// commandTime is how long a command may take to print the key ring: a KMS
	// far away answers within, and a service manager waits longer for a start.
	commandTime = 30 * time.Second

	// commandRest is how long what it has started may keep its output open
	// once it ended.
	commandRest = 2 * time.Second

	// maxComplaint is what is shown of its standard error: the first lines.
	maxComplaint = 1 << 10
)

var errTooLong = errors.New("the program printed too much")

// printed runs a command to its end and returns what it printed. No shell reads
// its words; it reads nothing; of our environment it gets HOME only, since the
// rest may hold the database's password. Errors show its standard error, and
// never what it printed: that is the key ring.
func printed(ctx context.Context, command []string, within time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &capped{limit: maxRingBytes, over: func() { stop(errTooLong) }}
	complaint := &capped{limit: maxComplaint}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + os.Getenv("HOME")}
	cmd.Stdout, cmd.Stderr = out, complaint
	// A group of its own, so that what it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = commandRest
	err := cmd.Run()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTooLong):
		return nil, fmt.Errorf("%s printed more than %d bytes, so it isn't a key ring", command[0], maxRingBytes)
	case errors.Is(cause, context.DeadlineExceeded):
		return nil, fmt.Errorf("%s didn't end within %v%s", command[0], within, complaint)
	case cause != nil:
		return nil, cause
	}
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return nil, fmt.Errorf("%s ended with %v%s", command[0], ended.ProcessState, complaint)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%s ended, but a program that it started keeps its output open%s", command[0], complaint)
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", command[0], err)
	}
	return out.buf.Bytes(), nil
}

// capped keeps what is written to it, up to a limit.
type capped struct {
	buf   bytes.Buffer
	limit int
	over  func() // called when there is more; may be nil
}

func (c *capped) Write(b []byte) (int, error) {
	room := c.limit - c.buf.Len()
	if len(b) <= room {
		return c.buf.Write(b)
	}
	c.buf.Write(b[:room])
	if c.over != nil {
		c.over()
	}
	return len(b), nil
}

// String returns ": " and the text on one line, or "" where there is none.
func (c *capped) String() string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(c.buf.String(), ""))
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return ": " + text
}
