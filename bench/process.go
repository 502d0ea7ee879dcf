package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	answerTime = 30 * time.Second
	stopTime   = 15 * time.Second

	kB = 1000.0
	MB = 1000 * kB
)

// process is a run of a program that is measured.
type process struct {
	stage  *stage
	id     int
	cmd    *exec.Cmd // nil once it ended, and for a peer, which isn't ours to end
	ended  chan error
	output bytes.Buffer // to read only once it ended
	began  time.Time
}

// build builds the binary as make build ships it.
func (b *bench) build() {
	b.binary = filepath.Join(b.TempDir(), "sallyport")
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	b.must(err)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "./cmd/sallyport")
	build.Dir, build.Env = strings.TrimSpace(string(root)), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
}

// start runs a program on those cores until the stage ends.
func (b *bench) start(on cpuSet, environ []string, path string, args ...string) *process {
	p := &process{stage: b.stage, cmd: exec.Command(path, args...), ended: make(chan error, 1)}
	// Nothing else of the environment: it may name somebody's portal.
	p.cmd.Env, p.cmd.Dir = append(environ, "TMPDIR="+b.TempDir()), b.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a run that dies leaves nothing behind
	p.began = time.Now()
	b.must(b.cores.start(on, p.cmd.Start))
	p.id = p.cmd.Process.Pid
	go func() { p.ended <- p.cmd.Wait() }()
	b.Cleanup(p.stop)
	return p
}

// await waits until the program is ready, and returns how long that took since
// it began.
func (p *process) await(ready func() bool) time.Duration {
	for !ready() {
		select {
		case err := <-p.ended:
			p.cmd = nil
			p.stage.Fatalf("a program ended: %v\n%s", err, p.output.String())
		case <-time.After(time.Millisecond):
		}
		if time.Since(p.began) > answerTime {
			p.stage.Fatal("a program doesn't answer")
		}
	}
	return time.Since(p.began)
}

// stop ends the program, which it does in order, and waits for it.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	defer func() { p.cmd = nil }()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// spent returns the processor time, user and system, of the program's threads
// so far, by its clock: see clock_getcpuclockid(3).
func (p *process) spent() time.Duration {
	const schedulersCount = 2 // to the nanosecond; /proc counts hundredths of a second
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(^p.id<<3|schedulersCount), uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		p.stage.Fatal("clock of a program: ", errno)
	}
	return time.Duration(t.Nano())
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident returns how many bytes of the program are in memory. Those of its
// file that were read count too.
func (p *process) resident() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.id))
	p.stage.must(err)
	found := residentLine.FindSubmatch(status)
	if found == nil {
		p.stage.Fatal("no VmRSS in /proc")
	}
	kib, err := strconv.Atoi(string(found[1]))
	p.stage.must(err)
	return float64(kib) * 1024
}

// listens reports whether somebody does at the address.
func listens(at string) bool {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// listenerAt returns the id of the process that listens at a port of this
// machine.
func listenerAt(port int) (int, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			return 0, err
		}
		for row := range strings.Lines(string(text)) {
			fields := strings.Fields(row)
			const state, inode, listen = 3, 9, "0A" // columns, and what they call LISTEN
			if len(fields) <= inode || fields[state] != listen || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				continue
			}
			held, err := filepath.Glob("/proc/[0-9]*/fd/*")
			if err != nil {
				return 0, err
			}
			for _, file := range held {
				if to, err := os.Readlink(file); err == nil && to == "socket:["+fields[inode]+"]" {
					return strconv.Atoi(strings.Split(file, "/")[2])
				}
			}
		}
	}
	return 0, fmt.Errorf("no process that we may look into listens at port %d", port)
}
