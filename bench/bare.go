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

// bareVariable has this program serve as the bare side instead.
const bareVariable = "SALLYPORT_BENCH_BARE"

// bareServer is what a server does that decides nothing.
type bareServer struct {
	At string

	// Answer to everything, or the panel that everything is passed on to.
	Status int
	Header http.Header
	Body   string
	Panel  string
}

// serveBare serves as the variable says, and never returns where it is set.
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
		// More connections are kept than by default: those would be opened anew
		// with most requests.
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

// startBare starts a bare server on those cores and returns its address.
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

// answerOf returns a bare server that gives the answer which a request gets at
// an address: the same status, header and body.
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
