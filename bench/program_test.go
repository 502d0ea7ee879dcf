package bench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	// shipped is what make build ships.
	shipped = "../bin/sallyport"

	answerTime = 30 * time.Second
	stopTime   = 15 * time.Second
)

// program is a run of the shipped binary.
type program struct {
	b      *testing.B
	cmd    *exec.Cmd
	ended  chan error
	output bytes.Buffer  // to read only once it ended
	url    string        // scheme, host and port
	took   time.Duration // from its start until /login answered
}

// start runs the binary and waits until /login answers at listen. It is ended
// with the benchmark at the latest.
func start(b *testing.B, listen string, environ []string, args ...string) *program {
	b.Helper()
	path, err := filepath.Abs(shipped)
	if err != nil {
		b.Fatal(err)
	}
	p := &program{b: b, cmd: exec.Command(path, args...), ended: make(chan error, 1), url: "http://" + listen}
	// Nothing else of the environment: it may name somebody's portal.
	p.cmd.Env, p.cmd.Dir = append(environ, "TMPDIR="+b.TempDir()), b.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	b.Cleanup(p.stop)
	for {
		if page, _ := get(p.url + signInPath(args)); page != nil {
			p.took = time.Since(begin)
			return p
		}
		select {
		case err := <-p.ended:
			p.cmd = nil
			b.Fatalf("sallyport %v ended: %v\n%s", args, err, p.output.String())
		case <-time.After(time.Millisecond):
		}
		if time.Since(begin) > answerTime {
			b.Fatalf("sallyport %v doesn't answer", args)
		}
	}
}

// signInPath is where the sign-in page is: the demo's portal is on its panel's host.
func signInPath(args []string) string {
	if args[0] == "demo" {
		return "/.sallyport/login"
	}
	return "/login"
}

// stop ends the program, which it does in order, and waits for it.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	defer func() { p.cmd = nil }()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		if err != nil {
			p.b.Errorf("sallyport ended: %v\n%s", err, p.output.String())
		}
	case <-time.After(stopTime):
		p.cmd.Process.Kill()
		<-p.ended
		p.b.Error("sallyport didn't end when told to")
	}
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident returns how many bytes of the program are in memory. Those of its
// file that were read count too.
func (p *program) resident() float64 {
	p.b.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		p.b.Fatal(err)
	}
	found := residentLine.FindSubmatch(status)
	if found == nil {
		p.b.Fatal("no VmRSS in /proc")
	}
	kib, err := strconv.Atoi(string(found[1]))
	if err != nil {
		p.b.Fatal(err)
	}
	return float64(kib) * 1024
}

// freeAddress returns an address of loopback where nobody listens.
func freeAddress(b *testing.B) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// once asks on a new connection and takes what a browser takes. It unpacks
// nothing, so what it returns is what was sent.
var once = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

// get returns the body of a page as it was sent, or an error where it isn't
// there, with a nil body.
func get(url string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/html") // as who opens a page
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := once.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
