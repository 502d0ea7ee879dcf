package documents

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// composition is the content of a compose.yaml, with its anchors resolved.
type composition struct {
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Ports       []string
		Secrets     []string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		Tmpfs       []string
		Networks    map[string]struct {
			Address string `yaml:"ipv4_address"`
		}
	}
}

// withAddresses returns the text of a file of the repository, changed so that the tests run on
// loopback addresses. In pairs, each old text is followed by its replacement. It fails the test if
// the file lacks an old text.
func withAddresses(t *testing.T, file string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(testkit.Path(file))
	testkit.Check(t, err)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s doesn't contain %q", file, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(text))
}

// The files of deploy/container run with only their addresses changed: two nodes on one
// database, a key ring from a secret, and a real nginx.
func TestComposedNodesServeOneDatabase(t *testing.T) {
	t.Parallel()
	var compose composition
	readYAML(t, "deploy/container/compose.yaml", &compose)
	address := func(service string) string { return compose.Services[service].Networks["default"].Address }
	for _, name := range []string{"node1", "node2"} {
		node := compose.Services[name]
		if !node.ReadOnly || len(node.CapDrop) != 1 || node.CapDrop[0] != "ALL" || len(node.Ports) > 0 || len(node.Tmpfs) != 1 {
			t.Errorf("%s has more privileges than it needs: %+v", name, node)
		}
	}
	for _, service := range compose.Services {
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes port %s, want it at 127.0.0.1 only", service.Image, port)
			}
		}
	}

	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	testkit.WriteFile(t, file, withAddresses(t, "deploy/container/sallyport.yaml", address("nginx"), "127.0.0.1", "metrics_listen: 0.0.0.0:9092", "metrics_listen: ''"))
	settings := append(createRing(t, 0o400), "SALLYPORT_CONFIG="+file, "SALLYPORT_DATABASE="+testkit.DatabaseURL(t, "postgres"))
	clock := testkit.NewClock()
	one, two := portal.StartIn(t, t.TempDir(), clock, settings...), portal.StartIn(t, t.TempDir(), clock, settings...)
	one.AddAccount(t, "ada")

	unused := httptest.NewTLSServer(nil) // its certificate serves nginx
	defer unused.Close()
	at := proxies.StartProxy(t, one.At, unused, unused, func(t *testing.T, dir, at, _, _, _ string) *exec.Cmd {
		writeCertificate(t, dir, unused.TLS.Certificates[0])
		text := withAddresses(t, "deploy/container/nginx.conf", address("node1")+":9091", one.At, address("node2")+":9091", two.At,
			"listen 443", "listen "+at, "/etc/nginx/tls", dir,
			"http {", "http { access_log off; client_body_temp_path "+dir+"/b; proxy_temp_path "+dir+"/p; fastcgi_temp_path "+dir+"/f; uwsgi_temp_path "+dir+"/u; scgi_temp_path "+dir+"/s;")
		testkit.WriteFile(t, filepath.Join(dir, "nginx.conf"), text)
		return exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr", "-g", "daemon off; pid "+dir+"/pid;")
	})
	b := httpsBrowser(t, at)
	if status := b.post("/login", url.Values{"username": {"ada"}, "password": {portal.Password}}); status != http.StatusSeeOther {
		t.Fatalf("the sign-in through nginx: status %d, want 303", status)
	}
	for range 4 { // nginx alternates between the nodes
		if status := b.get("/settings/security"); status != http.StatusOK {
			t.Errorf("a page after the sign-in, with both nodes: status %d, want 200", status)
		}
	}
	one.Stop()
	for range 4 {
		if status := b.get("/settings/security"); status != http.StatusOK {
			t.Errorf("a page after the sign-in, with one node stopped: status %d, want 200", status)
		}
	}
}

// TestFiveMinutes runs deploy/container/sqlite/compose.yaml, but can't see what the file
// forbids.
func TestComposedSingleNodeHasFewPrivileges(t *testing.T) {
	t.Parallel()
	var compose composition
	readYAML(t, "deploy/container/sqlite/compose.yaml", &compose)
	node := compose.Services["sallyport"]
	if !node.ReadOnly || len(node.CapDrop) != 1 || node.CapDrop[0] != "ALL" {
		t.Errorf("the node has more privileges than it needs: %+v", node)
	}
	if panel := compose.Services["panel"]; len(panel.Ports) > 0 || panel.Image == "" {
		t.Errorf("the panel publishes a port around Sallyport, or has no image: %+v", panel)
	}
}

// createRing creates a key ring with the file mode that compose or Kubernetes uses for
// secrets. It returns the environment variable that names the ring's directory.
func createRing(t *testing.T, mode fs.FileMode) []string {
	t.Helper()
	dir := t.TempDir()
	_, err := secret.CreateRing(filepath.Join(dir, "keyring"))
	testkit.Check(t, err)
	testkit.Check(t, os.Chmod(filepath.Join(dir, "keyring"), mode))
	return []string{"CREDENTIALS_DIRECTORY=" + dir}
}

// writeCertificate writes a certificate and its key to cert.pem and key.pem in dir.
func writeCertificate(t *testing.T, dir string, pair tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	testkit.Check(t, err)
	testkit.WriteFile(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	testkit.WriteFile(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// secureBrowser is a browser whose requests to https://auth.example.com reach another
// address.
type secureBrowser struct {
	t      *testing.T
	client *http.Client
}

// httpsBrowser returns a browser whose requests reach the server at an address.
func httpsBrowser(t *testing.T, at string) secureBrowser {
	jar, err := cookiejar.New(nil)
	testkit.Check(t, err)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is for another name
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		}}
	t.Cleanup(transport.CloseIdleConnections)
	return secureBrowser{t, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (s secureBrowser) get(path string) int { return s.do(http.MethodGet, path, nil) }

func (s secureBrowser) post(path string, form url.Values) int {
	return s.do(http.MethodPost, path, form)
}

func (s secureBrowser) do(method, path string, form url.Values) int {
	s.t.Helper()
	req, err := http.NewRequest(method, "https://auth.example.com"+path, strings.NewReader(form.Encode()))
	testkit.Check(s.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := s.client.Do(req)
	testkit.Check(s.t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// manifests returns the documents of deploy/kubernetes by kind.
func manifests(t *testing.T) map[string]map[string]any {
	t.Helper()
	text, err := os.ReadFile(testkit.Path("deploy/kubernetes/sallyport.yaml"))
	testkit.Check(t, err)
	all := map[string]map[string]any{}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var one map[string]any
		if err := documents.Decode(&one); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[one["kind"].(string)] = one
	}
}

// valueAt returns the value at a path of keys and list indexes in a decoded YAML document.
func valueAt(value any, keys ...any) any {
	for _, key := range keys {
		switch key := key.(type) {
		case string:
			value = value.(map[string]any)[key]
		case int:
			value = value.([]any)[key]
		}
	}
	return value
}

func TestKubernetesManifestsAreRestrictedAndStart(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	pod := valueAt(all["Deployment"], "spec", "template", "spec")
	container := valueAt(pod, "containers", 0)
	for _, one := range []struct {
		got, want any
	}{
		// The Pod Security Standard "restricted", which the namespace enforces.
		{valueAt(all["Namespace"], "metadata", "labels", "pod-security.kubernetes.io/enforce"), "restricted"},
		{valueAt(pod, "securityContext", "runAsNonRoot"), true},
		{valueAt(pod, "securityContext", "seccompProfile", "type"), "RuntimeDefault"},
		{valueAt(container, "securityContext", "allowPrivilegeEscalation"), false},
		{valueAt(container, "securityContext", "capabilities", "drop", 0), "ALL"},
		{valueAt(container, "securityContext", "readOnlyRootFilesystem"), true},
		{valueAt(pod, "automountServiceAccountToken"), false},
		// The pod gets no environment variables for the namespace's other Services.
		{valueAt(pod, "enableServiceLinks"), false},
		{valueAt(pod, "securityContext", "fsGroup"), valueAt(pod, "securityContext", "runAsGroup")},
		// The selectors match the Deployment's pods.
		{valueAt(all["Service"], "spec", "selector", "app.kubernetes.io/name"), valueAt(all["Deployment"], "spec", "template", "metadata", "labels", "app.kubernetes.io/name")},
		{valueAt(all["PodDisruptionBudget"], "spec", "selector", "matchLabels", "app.kubernetes.io/name"), "sallyport"},
		{valueAt(all["NetworkPolicy"], "spec", "podSelector", "matchLabels", "app.kubernetes.io/name"), "sallyport"},
		{valueAt(all["Service"], "spec", "ports", 0, "targetPort"), valueAt(container, "ports", 0, "name")},
	} {
		if one.got != one.want {
			t.Errorf("a value of deploy/kubernetes/sallyport.yaml is %v, want %v", one.got, one.want)
		}
	}

	// The server starts with the declared configuration and secrets, and answers the
	// declared probes, which come from an address that isn't in trusted_proxies.
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	testkit.WriteFile(t, file, valueAt(all["ConfigMap"], "data", "sallyport.yaml").(string))
	mode := fs.FileMode(valueAt(pod, "volumes", 1, "secret", "defaultMode").(int))
	settings := append(createRing(t, mode), "SALLYPORT_CONFIG="+file, "SALLYPORT_METRICS_LISTEN=", "SALLYPORT_DATABASE="+testkit.DatabaseURL(t, "postgres"))
	p := portal.StartIn(t, t.TempDir(), testkit.NewClock(), settings...)
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		path := valueAt(container, probe, "httpGet", "path").(string)
		resp, err := http.Get("http://" + p.At + path)
		testkit.Check(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s at %s: status %d, want 200", probe, path, resp.StatusCode)
		}
	}
	if _, err := config.Load(file, append(settings, "SALLYPORT_PORT=tcp://10.0.0.1:80")); err != nil {
		t.Errorf("load the configuration with a variable of a Service: %v", err)
	}
}
