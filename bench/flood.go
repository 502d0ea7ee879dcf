package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// largeEvery says how many posts have a password of a megabyte: one in ten.
const largeEvery = 10

// betweenSignIns is a pause long enough to keep a browser below the rate limit for right passwords.
const betweenSignIns = 250 * time.Millisecond

// passwordsAtOnce sends many wrong passwords at once, each from a network of its own and
// some of a megabyte, while a known browser signs in repeatedly.
func (b *bench) passwordsAtOnce() {
	g, _ := b.withAda("")
	owner := b.newClient()
	sign := func() time.Duration {
		start := time.Now()
		_, status, err := post(owner, g.at, "10.0.0.1", "ada", portal.Password)
		if err != nil || status != http.StatusSeeOther {
			b.Fatalf("the known browser can't sign in: %d, %v", status, err)
		}
		return time.Since(start)
	}
	sign() // makes the browser known
	time.Sleep(b.idle)
	before := g.resident()
	most, over := make(chan float64), make(chan struct{})
	go func() {
		highest := before
		for {
			select {
			case <-over:
				most <- highest
				return
			case <-time.After(10 * time.Millisecond):
				highest = max(highest, g.resident())
			}
		}
	}()
	var wrong int
	go func() { defer close(over); wrong = b.strangersAtOnce(g.at) }()
	slowest := time.Duration(0)
	for flooding := true; flooding; {
		select {
		case <-over:
			flooding = false
		default:
		}
		slowest = max(slowest, sign())
		time.Sleep(betweenSignIns)
	}
	b.add(row{what: fmt.Sprintf("Memory over idle while %d passwords come at once", b.strangers), unit: "MB", got: (<-most - before) / MB, target: atMost(150)})
	b.add(row{what: "Slowest sign-in of a known browser meanwhile", unit: "ms", got: milliseconds(slowest), target: atMost(2000)})
	b.add(row{what: "Other answers than 422, 413, or 429 and 503 with Retry-After", got: float64(wrong), target: atMost(0)})
}

// strangersAtOnce sends wrong passwords at once and returns the number of answers with an
// unexpected status.
func (b *bench) strangersAtOnce(at string) int {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		wrong int
		start = make(chan struct{})
	)
	for i := range b.strangers {
		client := b.newClient()
		all.Go(func() {
			<-start
			name, password := "ada", "a wrong one, but long"
			if i%2 == 1 {
				name = fmt.Sprintf("nobody%d", i) // an unknown name, whose budget of tries is unused
			}
			if i%largeEvery == 0 {
				password = strings.Repeat("x", 1<<20)
			}
			header, status, err := post(client, at, fmt.Sprintf("10.%d.%d.1", 1+i/250, i%250), name, password)
			early := status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
			if err != nil || early && header.Get("Retry-After") != "" ||
				slices.Contains([]int{http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge}, status) {
				return // an error means that the server closed the connection on a large body
			}
			mu.Lock()
			defer mu.Unlock()
			wrong++
		})
	}
	close(start)
	all.Wait()
	return wrong
}

// newClient returns a client with its own cookies and connections.
func (b *bench) newClient() *http.Client {
	jar, err := cookiejar.New(nil)
	b.must(err)
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Jar: jar, Timeout: time.Minute, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post submits a name and a password to the portal that listens at the address at. The parameter
// address is the client's address, as a proxy would report it.
func post(client *http.Client, at, address, name, password string) (http.Header, int, error) {
	resp, err := postForm(client, at, "/login", http.Header{"X-Forwarded-For": {address}}, url.Values{"username": {name}, "password": {password}})
	if err != nil {
		return nil, 0, err
	}
	return resp.Header, resp.StatusCode, nil
}

// postForm submits a form to the portal at an address, as the portal's own page does, and returns
// the answer without its body. It adds to header the fields that a browser sends with a form.
func postForm(client *http.Client, at, path string, header http.Header, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+at+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Host, req.Header = portalHost, header
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}
