package documents

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/internal/testkit"
)

// traefikStatic and traefikDynamic declare the documented keys of Traefik 3 that the page
// and deploy/proxy/traefik.yml use. Any other key fails the test.
type traefikStatic struct {
	EntryPoints map[string]struct {
		Address   string
		AsDefault bool `yaml:"asDefault"`
		HTTP      struct {
			TLS          *struct{} `yaml:"tls"`
			Redirections struct {
				EntryPoint struct{ To, Scheme string } `yaml:"entryPoint"`
			}
		} `yaml:"http"`
	} `yaml:"entryPoints"`
	Providers struct{ File struct{ Directory string } }
}

type traefikDynamic struct {
	HTTP struct {
		Middlewares       map[string]traefikMiddleware
		Routers           map[string]traefikRouter
		ServersTransports map[string]struct {
			MaxIdleConnsPerHost int `yaml:"maxIdleConnsPerHost"`
		} `yaml:"serversTransports"`
		Services map[string]struct {
			LoadBalancer struct {
				ServersTransport string `yaml:"serversTransport"`
				Servers          []struct{ URL string }
			} `yaml:"loadBalancer"`
		}
	} `yaml:"http"`
	TLS struct {
		Stores struct {
			Default struct {
				DefaultCertificate struct {
					CertFile string `yaml:"certFile"`
					KeyFile  string `yaml:"keyFile"`
				} `yaml:"defaultCertificate"`
			}
		}
	} `yaml:"tls"`
}

type traefikMiddleware struct {
	ForwardAuth *struct {
		Address             string
		TrustForwardHeader  bool     `yaml:"trustForwardHeader"`
		AuthResponseHeaders []string `yaml:"authResponseHeaders"`
	} `yaml:"forwardAuth"`
	Headers struct {
		CustomRequestHeaders  map[string]string `yaml:"customRequestHeaders"`
		CustomResponseHeaders map[string]string `yaml:"customResponseHeaders"`
	}
}

type traefikRouter struct {
	Rule        string
	Priority    int
	Middlewares []string
	Service     string
}

// matches reports whether the router's rule matches a request. It supports the matchers
// that the files use, joined by &&.
func (r traefikRouter) matches(t *testing.T, req *http.Request) bool {
	for matcher := range strings.SplitSeq(r.Rule, " && ") {
		found := regexp.MustCompile("^(\\w+)\\(`([^`]+)`(?:, `([^`]+)`)?\\)$").FindStringSubmatch(matcher)
		if found == nil {
			t.Errorf("the test doesn't support the rule %s", r.Rule)
			return false
		}
		fits := false
		switch found[1] {
		case "Host":
			fits = req.Host == found[2]
		case "PathPrefix":
			fits = strings.HasPrefix(req.URL.Path, found[2])
		case "HeaderRegexp":
			fits = regexp.MustCompile(found[3]).MatchString(req.Header.Get(found[2]))
		default:
			t.Errorf("the test doesn't support the matcher %s", matcher)
		}
		if !fits {
			return false
		}
	}
	return true
}

// beginTraefik serves the machine as Traefik does with the files that the page wrote: it
// picks a router, sends a verify request as pkg/middlewares/auth/forward.go does, and
// forwards the request.
func beginTraefik(t *testing.T, m *machine) {
	var static traefikStatic
	readStrictly(t, m.path("/etc/traefik/traefik.yml"), &static)
	web, secure := static.EntryPoints["web"], static.EntryPoints["websecure"]
	if web.Address != ":80" || web.HTTP.Redirections.EntryPoint.To != "websecure" || web.HTTP.Redirections.EntryPoint.Scheme != "https" || !secure.AsDefault || secure.HTTP.TLS == nil {
		t.Errorf("the entry points are %+v, want :80 to redirect to websecure, which is the default and has TLS", static.EntryPoints)
	}
	var dynamic traefikDynamic
	files, err := filepath.Glob(m.path(static.Providers.File.Directory + "/*.yml"))
	testkit.Check(t, err)
	for _, file := range files {
		readStrictly(t, file, &dynamic)
	}
	chosen := dynamic.TLS.Stores.Default.DefaultCertificate
	pair, err := tls.LoadX509KeyPair(m.path(chosen.CertFile), m.path(chosen.KeyFile))
	testkit.Check(t, err)
	if hosts, err := os.ReadFile(m.path("/etc/hosts")); err != nil || !strings.Contains(string(hosts), "\n127.0.0.1 sallyport\n") {
		t.Errorf("/etc/hosts lacks 127.0.0.1 sallyport (error %v)\n%s", err, hosts)
	}

	transport := &http.Transport{DialContext: m.dial}
	t.Cleanup(transport.CloseIdleConnections)
	var routers []traefikRouter
	for _, router := range dynamic.HTTP.Routers {
		router.Priority = cmp.Or(router.Priority, len(router.Rule))
		routers = append(routers, router)
	}
	slices.SortFunc(routers, func(a, b traefikRouter) int { return b.Priority - a.Priority })
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header { // Traefik's entry points trust no client's forwarded headers
			if strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
				r.Header.Del(name)
			}
		}
		i := slices.IndexFunc(routers, func(router traefikRouter) bool { return router.matches(t, r) })
		if i < 0 {
			http.NotFound(w, r)
			return
		}
		for _, name := range routers[i].Middlewares {
			one := dynamic.HTTP.Middlewares[name]
			if auth := one.ForwardAuth; auth != nil && !traefikForwardAuth(t, transport, auth.Address, auth.AuthResponseHeaders, w, r) {
				return
			}
			for header, value := range one.Headers.CustomRequestHeaders {
				if r.Header.Del(header); value != "" {
					r.Header.Set(header, value)
				}
			}
		}
		to, err := url.Parse(dynamic.HTTP.Services[routers[i].Service].LoadBalancer.Servers[0].URL)
		if err != nil {
			t.Error(err)
			return
		}
		(&httputil.ReverseProxy{
			Transport: transport,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(to)
				p.Out.Host = p.In.Host
				p.SetXForwarded()
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		}).ServeHTTP(w, r)
	}))
	server.Listener.Close()
	server.Listener = m.listen(t, "127.0.0.1"+secure.Address)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
}

// traefikForwardAuth sends a verify request as Traefik does with trustForwardHeader off and without
// authRequestHeaders. If the answer admits the request, it copies the headers that takes lists from
// the answer to the request and returns true. Otherwise it forwards the answer to the client.
func traefikForwardAuth(t *testing.T, transport http.RoundTripper, address string, takes []string, w http.ResponseWriter, r *http.Request) bool {
	question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Error(err)
		return false
	}
	question.Header = r.Header.Clone()
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade"} {
		question.Header.Del(name)
	}
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	for name, value := range map[string]string{"For": client, "Method": r.Method, "Proto": "https", "Host": r.Host, "Uri": r.URL.RequestURI()} {
		question.Header.Set("X-Forwarded-"+name, value)
	}
	answer, err := transport.RoundTrip(question)
	if err != nil {
		t.Error(err)
		return false
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode >= 300 {
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
		return false
	}
	for _, name := range takes {
		r.Header.Del(name)
		if values := answer.Header.Values(name); len(values) > 0 {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return true
}

// readStrictly decodes a YAML file into the value that into points to, and fails the test for a key
// that the value lacks.
func readStrictly(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	testkit.Check(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", filepath.Base(file), err)
	}
}
