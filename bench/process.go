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
	answerTimeout = 30 * time.Second
	stopTimeout   = 15 * time.Second

	kB = 1000.0
	MB = 1000 * kB
)

// process is a running program that is measured.
type process struct {
	stage   *stage
	id      int
	cmd     *exec.Cmd // nil once the process ended, and for a peer, which this program must not end
	ended   chan error
	output  bytes.Buffer // may be read only once the process ended
	started time.Time
}

// build builds the binary as "make build" does.
func (b *bench) build() {
	b.binary = filepath.Join(b.TempDir(), "sallyport")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "./cmd/sallyport")
	build.Dir, build.Env = b.root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
}

// root returns the directory of this module.
func (b *bench) root() string {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	b.must(err)
	return strings.TrimSpace(string(root))
}

// start runs a program on the given cores until the stage ends.
func (b *bench) start(on cpuSet, environ []string, path string, args ...string) *process {
	p := &process{stage: b.stage, cmd: exec.Command(path, args...), ended: make(chan error, 1)}
	// Don't pass this program's environment on: it may configure a real portal.
	p.cmd.Env, p.cmd.Dir = append(environ, "TMPDIR="+b.TempDir()), b.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // the program ends even if this one is killed
	p.started = time.Now()
	b.must(b.cores.start(on, p.cmd.Start))
	p.id = p.cmd.Process.Pid
	go func() { p.ended <- p.cmd.Wait() }()
	b.Cleanup(p.stop)
	return p
}

// await waits until ready returns true, and returns the time since the program started.
func (p *process) await(ready func() bool) time.Duration {
	for !ready() {
		select {
		case err := <-p.ended:
			p.cmd = nil
			p.stage.Fatalf("the program ended: %v\n%s", err, p.output.String())
		case <-time.After(time.Millisecond):
		}
		if time.Since(p.started) > answerTimeout {
			p.stage.Fatal("the program doesn't answer")
		}
	}
	return time.Since(p.started)
}

// stop stops the program by SIGTERM and waits for it. It kills the program after a
// timeout.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	defer func() { p.cmd = nil }()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// spent returns the processor time, user and system, that the program's threads have
// used, from the clock of clock_getcpuclockid(3).
func (p *process) spent() time.Duration {
	const schedulersCount = 2 // counts nanoseconds; /proc counts only hundredths of a second
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(^p.id<<3|schedulersCount), uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		p.stage.Fatal("read the processor time of the program: ", errno)
	}
	return time.Duration(t.Nano())
}

// kernelTicks returns the processor time that the program spent in the kernel, and its whole
// processor time, both in hundredths of a second.
func (p *process) kernelTicks() (kernel, all float64) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.id))
	p.stage.must(err)
	// The second field, the program's name in brackets, may contain spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3 // see proc_pid_stat(5)
	user, err := strconv.ParseFloat(fields[utime], 64)
	p.stage.must(err)
	kernel, err = strconv.ParseFloat(fields[stime], 64)
	p.stage.must(err)
	return kernel, user + kernel
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident returns the resident memory of the program in bytes. It includes the pages of the
// program's file that were read.
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

// listens reports whether a process listens at the address.
func listens(at string) bool {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// listenerAt returns the id of the process that listens at a port of this machine.
func listenerAt(port int) (int, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			return 0, err
		}
		for row := range strings.Lines(string(text)) {
			fields := strings.Fields(row)
			const state, inode, listen = 3, 9, "0A" // two columns, and the code of LISTEN
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
	return 0, fmt.Errorf("no process whose open files this user may read listens at port %d", port)
}
