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

// clientTimeout limits how long a client may run, even on a busy machine.
const clientTimeout = time.Minute

// relay listens at the address that it returns, and forwards connections to the address that the
// test stores in target. The panel's origin must be known before the portal starts.
func relay(t *testing.T) (at string, target *atomic.Value) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	target = &atomic.Value{}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", target.Load().(string))
				if err != nil {
					return
				}
				defer out.Close()
				go func() { io.Copy(out, in); out.(*net.TCPConn).CloseWrite() }()
				io.Copy(in, out)
			}()
		}
	}()
	return listener.Addr().String(), target
}

// davPanel is a panel that serves a folder over WebDAV, with a file and a git repository.
// It records method, User-Agent and Remote-User of each request.
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
	proxies.StartServer(t, at, exec.Command("rclone", "serve", "webdav", folder, "--addr", at, "--config", filepath.Join(t.TempDir(), "rclone.conf")))
	panel := &davPanel{}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: at})
	panel.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		panel.mu.Lock()
		panel.seen = append(panel.seen, r.Method+" "+r.UserAgent()+" "+r.Header.Get("Remote-User"))
		panel.mu.Unlock()
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s: the panel got an Authorization header, want the pass removed", r.Method, r.URL)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(panel.Close)
	return panel
}

// saw reports whether the panel got a request with this method and this Remote-User from this
// client.
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

// run runs a client and returns its standard output. It fails the test if the client fails
// or isn't installed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, end := context.WithTimeout(context.Background(), clientTimeout)
	defer end()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "NO_PROXY=localhost", "no_proxy=localhost")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v (make deps installs what is missing)\n%s%s", name, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// Command-line clients send a machine pass as a password, and many do so only after a
// challenge (RFC 9110, section 11.6.1).
func TestCommandLineClientsSignInWithAPass(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"gateway", "nginx"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			panel := startDAVPanel(t)
			at, to := relay(t)
			_, port, _ := net.SplitHostPort(at)
			origin, upstream := "http://localhost:"+port, ""
			if by == "gateway" {
				upstream = "\n    upstream: " + panel.URL
			}
			p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: %s%s\n", panels.PortalAt, origin, upstream)))
			to.Store(p.At)
			if by == "nginx" {
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
					t.Errorf("%s with a pass read %q, want the file", name, got)
				}
			}
			if got := run(t, "git", "ls-remote", known+"/repo.git"); !strings.Contains(got, "refs/heads/main") {
				t.Errorf("git ls-remote with a pass printed %q, want refs/heads/main", got)
			}
			sent := davfs2(t, origin, token)
			for method, client := range map[string]string{"GET": "git/", "PROPFIND": "rclone/", "OPTIONS": "davfs2/"} {
				if !panel.saw(method, client, "ci") && (sent || client != "davfs2/") {
					t.Errorf("the panel got no %s from %s with Remote-User ci; it got %q", method, client, panel.seen)
				}
			}
		})
	}
}

// davfs2 mounts the panel and reads a file there. Without /dev/fuse no mount succeeds, but
// davfs2 still sends its first requests to the panel, if it runs as root. davfs2 reports
// whether requests were sent.
func davfs2(t *testing.T, origin, token string) (sent bool) {
	t.Helper()
	// davfs2 drops root and must still find its folders, which it can't below t.TempDir.
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
		t.Logf("davfs2 can't mount here (%v, user %d), so the test checks only its first requests", err, os.Getuid())
		ctx, end := context.WithTimeout(context.Background(), clientTimeout)
		defer end()
		output, err := exec.CommandContext(ctx, "mount.davfs", args...).CombinedOutput()
		t.Logf("davfs2: %v\n%s", err, output)
		return os.Getuid() == 0
	}
	run(t, "mount.davfs", args...)
	defer run(t, "umount.davfs", folder)
	text, err := os.ReadFile(filepath.Join(folder, "hello.txt"))
	if err != nil || string(text) != "hello from behind the gate" {
		t.Errorf("davfs2 read %q (error %v), want the file", text, err)
	}
	return true
}
