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
	// commandTimeout limits how long a command may take to print the key ring. A distant KMS
	// answers within this time, and service managers wait longer than that for a service to start.
	commandTimeout = 30 * time.Second

	// outputTimeout limits how long, after the command has ended, a process that it started can
	// keep the output open.
	outputTimeout = 2 * time.Second

	// maxStderr is how many bytes of standard error an error message shows.
	maxStderr = 1 << 10
)

var errTooLong = errors.New("the program printed too much")

// runCommand runs a command and returns its standard output. It uses no shell and gives the command
// no standard input. The command's environment has only a fixed PATH and the server's HOME, since
// other variables may hold the database's password. Errors quote the command's standard error, but
// never its standard output, which is the key ring.
func runCommand(ctx context.Context, command []string, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &limitedBuffer{limit: maxRingBytes, onOverflow: func() { stop(errTooLong) }}
	stderr := &limitedBuffer{limit: maxStderr}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + os.Getenv("HOME")}
	cmd.Stdout, cmd.Stderr = out, stderr
	// Give the command a process group of its own, so that its children are killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputTimeout
	err := cmd.Run()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTooLong):
		return nil, fmt.Errorf("%s printed more than %d bytes, so it isn't a key ring", command[0], maxRingBytes)
	case errors.Is(cause, context.DeadlineExceeded):
		return nil, fmt.Errorf("%s didn't end within %v%s", command[0], timeout, stderr)
	case cause != nil:
		return nil, cause
	}
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return nil, fmt.Errorf("%s ended with %v%s", command[0], ended.ProcessState, stderr)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%s ended, but a program that it started keeps its output open%s", command[0], stderr)
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", command[0], err)
	}
	return out.buf.Bytes(), nil
}

// limitedBuffer keeps the first limit bytes that are written to it.
type limitedBuffer struct {
	buf        bytes.Buffer
	limit      int
	onOverflow func() // called when more than limit bytes are written; may be nil
}

func (c *limitedBuffer) Write(b []byte) (int, error) {
	room := c.limit - c.buf.Len()
	if len(b) <= room {
		return c.buf.Write(b)
	}
	c.buf.Write(b[:room])
	if c.onOverflow != nil {
		c.onOverflow()
	}
	return len(b), nil
}

// String returns ": " and the text on one line, without control characters, or ""
// if there is no text.
func (c *limitedBuffer) String() string {
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
