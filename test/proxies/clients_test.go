package proxies

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// clientTime is how long a client may take, on a busy machine too.
const clientTime = time.Minute

// relay listens at an address, and passes connections on to where the test says later:
// what a panel is called must be known before the portal starts.
func relay(t *testing.T) (at string, to *atomic.Value) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	to = &atomic.Value{}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", to.Load().(string))
				if err != nil {
					return
				}
				defer out.Close()
				go func() { io.Copy(out, in); out.(*net.TCPConn).CloseWrite() }()
				io.Copy(in, out)
			}()
		}
	}()
	return listener.Addr().String(), to
}

// davPanel is a panel that serves a folder by WebDAV: a file and a git repository. It
// notes which client asked with which method in whose name.
type davPanel struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func startDAVPanel(t *testing.T) *davPanel {
	t.Helper()
	folder := t.TempDir()
	testkit.WriteFile(t, filepath.Join(folder, "hello.txt"), "hello from behind the gate")
	git := filepath.Join(folder, "repo.git")
	run(t, "git", "init", "-q", "--bare", git)
	tree := strings.TrimSpace(run(t, "git", "-C", git, "hash-object", "-t", "tree", "-w", "/dev/null"))
	commit := run(t, "git", "-C", git, "-c", "user.name=ci", "-c", "user.email=ci@example.test", "commit-tree", "-m", "one", tree)
	run(t, "git", "-C", git, "update-ref", "refs/heads/main", strings.TrimSpace(commit))
	run(t, "git", "-C", git, "update-server-info")
	at := testkit.FreeAddress(t)
	proxies.StartBeside(t, at, exec.Command("rclone", "serve", "webdav", folder, "--addr", at, "--config", filepath.Join(t.TempDir(), "rclone.conf")))
	panel := &davPanel{}
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: at})
	panel.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		panel.mu.Lock()
		panel.seen = append(panel.seen, r.Method+" "+r.UserAgent()+" "+r.Header.Get("Remote-User"))
		panel.mu.Unlock()
		if r.Header.Get("Authorization") != "" {
			t.Errorf("the panel saw the pass: %s %s", r.Method, r.URL)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(panel.Close)
	return panel
}

// saw reports whether a client asked with a method in a name.
func (p *davPanel) saw(method, client, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.seen {
		if strings.HasPrefix(one, method+" "+client) && strings.HasSuffix(one, " "+name) {
			return true
		}
	}
	return false
}

// run runs a client and returns what it prints. One that is missing fails the test.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, end := context.WithTimeout(context.Background(), clientTime)
	defer end()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "NO_PROXY=localhost", "no_proxy=localhost")
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complained
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v (make deps installs what is missing)\n%s%s", name, err, said.String(), complained.String())
	}
	return said.String()
}

// Clients that are no browsers sign in with a machine pass as a password, and wait to be
// asked for it (RFC 9110, section 11.6.1).
func TestClientsThatAreNoBrowsersSignInWithAPass(t *testing.T) {
	t.Parallel()
	for _, door := range []string{"gateway", "nginx"} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			panel := startDAVPanel(t)
			at, to := relay(t)
			_, port, _ := net.SplitHostPort(at)
			origin, upstream := "http://localhost:"+port, ""
			if door == "gateway" {
				upstream = "\n    upstream: " + panel.URL
			}
			p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: %s%s\n", panels.PortalAt, origin, upstream)))
			to.Store(p.At)
			if door == "nginx" {
				to.Store(proxies.StartListener(t, func(dir, at string) *exec.Cmd {
					return proxies.NginxCommand(t, dir, at, p.At, []proxies.ProxySite{{Origin: panels.PortalAt, Upstream: ""}, {Origin: "http://localhost", Upstream: panel.URL}})
				}))
			}
			token := panels.OperatorsPass(t, p, p.AddAccount(t, "ci"), origin, "/", "", "")
			file, known := origin+"/hello.txt", strings.Replace(origin, "://", "://ci:"+token+"@", 1)
			for name, got := range map[string]string{
				"wget": run(t, "wget", "-q", "-O", "-", "--user", "ci", "--password", token, file),
				"curl": run(t, "curl", "-sf", "-u", "ci:"+token, file),
				"rclone": run(t, "rclone", "cat", ":webdav:hello.txt", "--config", "/dev/null", "--webdav-url", origin,
					"--webdav-user", "ci", "--webdav-pass", strings.TrimSpace(run(t, "rclone", "obscure", token))),
			} {
				if got != "hello from behind the gate" {
					t.Errorf("%s read %q", name, got)
				}
			}
			if got := run(t, "git", "ls-remote", known+"/repo.git"); !strings.Contains(got, "refs/heads/main") {
				t.Errorf("git read %q", got)
			}
			asked := davfs2(t, origin, token)
			for method, client := range map[string]string{"GET": "git/", "PROPFIND": "rclone/", "OPTIONS": "davfs2/"} {
				if !panel.saw(method, client, "ci") && (asked || client != "davfs2/") {
					t.Errorf("the panel saw no %s of %s in the pass's name: %q", method, client, panel.seen)
				}
			}
		})
	}
}

// davfs2 mounts the panel and reads a file of it. Without /dev/fuse no mount can succeed:
// then davfs2 gets as far as its first questions to the panel. It returns false where it
// doesn't get there, since it asks nothing for other users than root.
func davfs2(t *testing.T, origin, token string) (asked bool) {
	t.Helper()
	// Not t.TempDir: davfs2 gives its rights up, and must still find its folders.
	dir, err := os.MkdirTemp("", "sallyport-davfs2-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder, cache := filepath.Join(dir, "mounted"), filepath.Join(dir, "cache")
	for _, one := range []string{dir, folder, cache} {
		os.Mkdir(one, 0o777)
		if err := os.Chmod(one, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	secrets, conf := filepath.Join(dir, "secrets"), filepath.Join(dir, "davfs2.conf")
	testkit.WriteFile(t, secrets, origin+" ci "+token+"\n")
	if err := os.Chmod(secrets, 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.WriteFile(t, conf, "secrets "+secrets+"\nask_auth 0\nuse_locks 0\ncache_dir "+cache+"\n")
	args := []string{origin, folder, "-o", "conf=" + conf + ",ro"}
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Getuid() != 0 {
		if _, err := exec.LookPath("mount.davfs"); err != nil {
			t.Fatalf("%v; the tests need it: make deps", err)
		}
		t.Logf("davfs2 can't mount here (%v, user %d): only its first questions are looked at", err, os.Getuid())
		ctx, end := context.WithTimeout(context.Background(), clientTime)
		defer end()
		said, err := exec.CommandContext(ctx, "mount.davfs", args...).CombinedOutput()
		t.Logf("davfs2: %v\n%s", err, said)
		return os.Getuid() == 0
	}
	run(t, "mount.davfs", args...)
	defer run(t, "umount.davfs", folder)
	text, err := os.ReadFile(filepath.Join(folder, "hello.txt"))
	if err != nil || string(text) != "hello from behind the gate" {
		t.Errorf("davfs2 read %q: %v", text, err)
	}
	return true
}
