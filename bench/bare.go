package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

// bareVariable is an environment variable that makes this program run as a bare server.
// Its value is a [bareServer] in JSON.
const bareVariable = "SALLYPORT_BENCH_BARE"

// bareServer is a server without checks.
type bareServer struct {
	At string // host and port at which it listens

	// Status, Header and Body are the server's answer to every request.
	Status int
	Header http.Header
	Body   string
	// Panel, if not empty, is the URL of a panel. The server then forwards every request to it.
	Panel string
}

// serveBare runs the bare server that the environment variable [bareVariable] describes. If the
// variable is set, serveBare doesn't return.
func serveBare() {
	text := os.Getenv(bareVariable)
	if text == "" {
		return
	}
	var s bareServer
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = (&http.Server{Addr: s.At, Handler: s.handler(), ReadTimeout: time.Minute, WriteTimeout: time.Minute}).ListenAndServe()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (s bareServer) handler() http.Handler {
	if s.Panel != "" {
		to, _ := url.Parse(s.Panel)
		// With the default of two idle connections, most requests would open a new one.
		transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
		return &httputil.ReverseProxy{Transport: transport, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range s.Header {
			h[name] = values
		}
		w.WriteHeader(s.Status)
		io.WriteString(w, s.Body)
	})
}

// startBare starts a bare server on the given cores and returns its process and its address.
func (b *bench) startBare(on cpuSet, s bareServer) (*process, string) {
	s.At = testkit.FreeAddress(b.stage)
	text, err := json.Marshal(s)
	b.must(err)
	self, err := os.Executable()
	b.must(err)
	p := b.start(on, []string{bareVariable + "=" + string(text)}, self)
	p.await(func() bool { return listens(s.At) })
	return p, s.At
}

// answerOf sends a request to an address and returns a bare server that gives the same
// answer: status, header and body.
func (b *bench) answerOf(at string, request []byte) bareServer {
	conn, err := net.Dial("tcp", at)
	b.must(err)
	defer conn.Close()
	_, err = conn.Write(request)
	b.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	b.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	b.must(err)
	for _, own := range []string{"Date", "Content-Length", "Connection", "Transfer-Encoding"} { // every server sets them
		resp.Header.Del(own)
	}
	return bareServer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}
