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

// installation holds the files for a page's machine: Sallyport's package, and stand-ins for
// the programs that need a booted machine or a network.
type installation struct {
	dir string // the program, the package and the directory standins
}

// newInstallation builds the program, the package and the stand-ins.
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

// buildPackage builds the .deb file that nfpm.yaml declares, without licences, manual pages
// and completion, which "make packages" writes to bin/package.
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

// bootMachine is a script that sets up a machine in new namespaces. An overlay in memory covers
// every directory that the pages' commands write to, so that the commands see Debian's files but
// don't change them. The script ends when its standard input ends. Its arguments are the
// directory of an [installation] and the clone of the repository.
const bootMachine = `
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /mnt
over() { # mounts a writable overlay of $1 at $2
	mkdir -p /mnt/over$2/upper /mnt/over$2/work $2
	mount -t overlay -o lowerdir=$1,upperdir=/mnt/over$2/upper,workdir=/mnt/over$2/work overlay $2
}
over "$2" /mnt/clone
for folder in /etc /usr /var /root; do
	over $folder $folder
done
cp "$1"/*.deb /root
cp --no-dereference "$1"/standins/* /usr/local/bin
cp "$1"/sallyport /usr/local/lib # the image's program
for folder in /run /srv /tmp; do
	mount -t tmpfs -o mode=1777 tmpfs $folder
done
mkdir -p /srv/clone /run/lock
mount --move /mnt/clone /srv/clone
printf '127.0.0.1 localhost auth.example.com panel.example.com\n' > /etc/hosts
echo up
while read -r _; do :; done
`

// machine is a running machine. It ends with its test.
type machine struct {
	pid int // the process id of its first process
}

// boot starts a machine with the installation's files.
func (i installation) boot(t *testing.T) *machine {
	t.Helper()
	cmd := exec.Command("bash", "-euc", bootMachine, "boot", i.dir, testkit.Path("."))
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
			m.logServices(t)
		}
		alive.Close()
		cmd.Process.Kill() // it is process 1, so the machine's other processes end too
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("the machine doesn't come up (%v): run this test as root, where namespaces and mounts are allowed", err)
	}
	return m
}

// path returns the path by which this process opens a file of the machine.
func (m *machine) path(file string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, file) }

// run runs a command in the machine as if root pasted it into a shell, and returns its
// output. The command starts in dir, or in root's home directory if dir is empty.
func (m *machine) run(dir, command string) (output string, err error) {
	if dir == "" {
		dir = "/root"
	}
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--net", "--pid", "--ipc", "--uts",
		"env", "--ignore-environment", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
		"bash", "-o", "pipefail", "-c", `cd "$1" && eval "$2"`, "bash", dir, command).CombinedOutput()
	return string(out), err
}

// inside runs f on a thread in the machine's network namespace. Connections and listeners
// that f opens stay in that namespace.
func (m *machine) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // without unlocking, so the thread ends with this goroutine
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

// logServices logs the output of the machine's services.
func (m *machine) logServices(t *testing.T) {
	logs, _ := fs.Glob(os.DirFS(m.path("/run/standins")), "*.log")
	for _, name := range logs {
		text, _ := os.ReadFile(m.path("/run/standins/" + name))
		t.Logf("%s:\n%s", name, text)
	}
}

// outsider returns a browser outside the machine that trusts the certificate in the file ca.
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

// servePanel serves a panel in the machine and returns the number of its requests.
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

// dial connects to the machine at the address's port and ignores its host.
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

// listen opens a listener in the machine.
func (m *machine) listen(t *testing.T, at string) (listener net.Listener) {
	t.Helper()
	testkit.Check(t, m.inside(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}))
	return listener
}
