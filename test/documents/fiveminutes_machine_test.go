package documents

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// installation is what the machines of the pages get: Sallyport's package, and programs
// in place of those that need a booted machine or a network.
type installation struct {
	dir string // with the program, the package and standins
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	program := sallyport.BuildProgram(t)
	dir := t.TempDir()
	text, err := os.ReadFile(program)
	testkit.Check(t, err)
	testkit.Check(t, os.WriteFile(filepath.Join(dir, "sallyport"), text, 0o755))
	buildPackage(t, program, filepath.Join(dir, "sallyport_0.0.0_"+runtime.GOARCH+".deb"))
	standIns := filepath.Join(dir, "standins")
	testkit.Check(t, os.Mkdir(standIns, 0o755))
	build := exec.Command("go", "build", "-o", filepath.Join(standIns, "systemctl"), "./internal/testkit/standins")
	build.Dir = testkit.Path(".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{"apt-get", "docker"} {
		testkit.Check(t, os.Symlink("systemctl", filepath.Join(standIns, name)))
	}
	return installation{dir}
}

// buildPackage builds the .deb that nfpm.yaml declares, without licences, manual pages and
// completion, which "make packages" writes into bin/package.
func buildPackage(t *testing.T, program, to string) {
	t.Helper()
	var declared struct {
		Contents []packaged
		Scripts  struct{ PostInstall string }
	}
	readYAML(t, "deploy/packages/nfpm.yaml", &declared)
	root := t.TempDir()
	configuration := filepath.Join(t.TempDir(), "sallyport.yaml")
	testkit.WriteFile(t, configuration, strings.Replace(config.DefaultYAML(), "\ndata_dir: ./sallyport-data\n", "\ndata_dir: /var/lib/sallyport\n", 1))
	made := map[string]string{"bin/sallyport": program, "bin/package/sallyport.yaml": configuration}
	conffiles := ""
	for _, one := range declared.Contents {
		source, target := testkit.Path(one.Src), root+one.Dst
		if strings.HasPrefix(one.Src, "bin/") {
			if source = made[one.Src]; source == "" {
				continue
			}
		}
		if strings.HasPrefix(one.Type, "config") {
			conffiles += one.Dst + "\n"
		}
		switch one.Type {
		case "dir":
			testkit.Check(t, os.MkdirAll(target, one.FileInfo.Mode))
		case "tree":
			testkit.Check(t, os.MkdirAll(filepath.Dir(target), 0o755))
			testkit.Check(t, os.CopyFS(target, os.DirFS(source)))
		default:
			if out, err := exec.Command("install", "-D", "-m", fmt.Sprintf("%o", one.FileInfo.Mode), source, target).CombinedOutput(); err != nil {
				t.Fatalf("install: %v\n%s", err, out)
			}
		}
	}
	control := filepath.Join(root, "DEBIAN")
	testkit.Check(t, os.Mkdir(control, 0o755))
	testkit.WriteFile(t, filepath.Join(control, "control"), "Package: sallyport\nVersion: 0.0.0\nArchitecture: "+runtime.GOARCH+"\nMaintainer: the tests\nDepends: passwd\nDescription: login gate\n")
	testkit.WriteFile(t, filepath.Join(control, "conffiles"), conffiles)
	if out, err := exec.Command("install", testkit.Path(declared.Scripts.PostInstall), filepath.Join(control, "postinst")).CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "--build", root, to).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
}

// bootMachine makes a machine of new namespaces: every folder that the pages' commands
// write to is laid over with memory, so that Debian's own files are there and stay as
// they are. It lives until its standard input ends. Its arguments are the folder of an
// [installation] and the clone.
const bootMachine = `
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /mnt
over() { # what is at $1, laid over at $2
	mkdir -p /mnt/over$2/upper /mnt/over$2/work $2
	mount -t overlay -o lowerdir=$1,upperdir=/mnt/over$2/upper,workdir=/mnt/over$2/work overlay $2
}
over "$2" /mnt/clone
for folder in /etc /usr /var /root; do
	over $folder $folder
done
cp "$1"/*.deb /root
cp --no-dereference "$1"/standins/* /usr/local/bin
cp "$1"/sallyport /usr/local/lib # for the image
for folder in /run /srv /tmp; do
	mount -t tmpfs -o mode=1777 tmpfs $folder
done
mkdir -p /srv/clone /run/lock
mount --move /mnt/clone /srv/clone
printf '127.0.0.1 localhost auth.example.com panel.example.com\n' > /etc/hosts
echo up
while read -r _; do :; done
`

// machine is one that is up, until its test ends.
type machine struct {
	pid int // of its first process
}

func (i installation) boot(t *testing.T) *machine {
	t.Helper()
	clone, err := filepath.Abs(".")
	testkit.Check(t, err)
	cmd := exec.Command("bash", "-euc", bootMachine, "boot", i.dir, clone)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	alive, err := cmd.StdinPipe()
	testkit.Check(t, err)
	out, err := cmd.StdoutPipe()
	testkit.Check(t, err)
	if err := cmd.Start(); err != nil {
		t.Fatalf("new namespaces: %v; run this test as root, where namespaces and mounts are allowed", err)
	}
	m := &machine{cmd.Process.Pid}
	t.Cleanup(func() {
		if t.Failed() {
			m.tell(t)
		}
		alive.Close()
		cmd.Process.Kill() // with it all its processes end
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("the machine doesn't come up (%v): run this test as root, where namespaces and mounts are allowed", err)
	}
	return m
}

// path is where a file of the machine is, seen from outside.
func (m *machine) path(file string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, file) }

// run runs a command as root would who pastes it, in a folder of the machine; empty:
// that of root.
func (m *machine) run(dir, command string) (said string, err error) {
	if dir == "" {
		dir = "/root"
	}
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--net", "--pid", "--ipc", "--uts",
		"env", "--ignore-environment", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
		"bash", "-o", "pipefail", "-c", `cd "$1" && eval "$2"`, "bash", dir, command).CombinedOutput()
	return string(out), err
}

// inside runs f on a thread in the machine's network. What f opens stays there.
func (m *machine) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.pid))
		if err == nil {
			defer network.Close()
			err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// tell logs what the machine's services said.
func (m *machine) tell(t *testing.T) {
	logs, _ := fs.Glob(os.DirFS(m.path("/run/standins")), "*.log")
	for _, name := range logs {
		text, _ := os.ReadFile(m.path("/run/standins/" + name))
		t.Logf("%s:\n%s", name, text)
	}
}

func (m *machine) outsider(t *testing.T, ca string) *outsider {
	t.Helper()
	pem, err := os.ReadFile(m.path(ca))
	testkit.Check(t, err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", ca)
	}
	jar, err := cookiejar.New(nil)
	testkit.Check(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: m.dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &outsider{t: t, client: &http.Client{Jar: jar, Transport: transport, Timeout: proxies.ProxyStarts, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// servePanel serves a panel in the machine, and counts the requests for its page.
func (m *machine) servePanel(t *testing.T, at string) *atomic.Int32 {
	reached := &atomic.Int32{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		fmt.Fprintf(w, "the panel, for %s", r.Header.Get("Remote-User"))
	}))
	server.Listener.Close()
	server.Listener = m.listen(t, at)
	server.Start()
	t.Cleanup(server.Close)
	return reached
}

// dial connects to a port of the machine, whatever the host is called.
func (m *machine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	err = m.inside(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		return err
	})
	return conn, err
}

func (m *machine) listen(t *testing.T, at string) (listener net.Listener) {
	t.Helper()
	testkit.Check(t, m.inside(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}))
	return listener
}
