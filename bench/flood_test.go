package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	flood = 2000
	// large are the posts, one in so many, that carry a megabyte.
	large = 10

	floodPassword = "correct horse battery"
)

// BenchmarkFlood sends 2,000 passwords at once to the binary as it ships, each
// from a network of its own, some of a megabyte, while a known browser signs
// in again and again. It prints a table; what is missed fails nothing.
func BenchmarkFlood(b *testing.B) {
	var table strings.Builder
	for b.Loop() { // once: it takes longer than the time given
		table.Reset()
		rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(rows, "\n\nmeasured\tat most\t\t  limit\n")
		measureFlood(b, func(name string, got, limit, unit float64, unitName string) {
			verdict := "ok"
			if got > limit {
				verdict = "MISSED"
			}
			fmt.Fprintf(rows, "%.1f %s\t%v %s\t%s\t  %s\n", got/unit, unitName, limit/unit, unitName, verdict, name)
		})
		rows.Flush()
	}
	b.ReportMetric(0, "ns/op")
	fmt.Println(table.String())
}

func measureFlood(b *testing.B, row report) {
	dir, at := b.TempDir(), freeAddress(b)
	environ := []string{"SALLYPORT_LISTEN=" + at, "SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32"}
	addAccount(b, environ)
	p := start(b, at, environ, "serve")
	owner := newClient(b)
	if _, status, err := post(owner, p.url, "10.0.0.1", "alice", floodPassword); err != nil || status != http.StatusSeeOther {
		b.Fatalf("the owner's first sign-in: %d, %v", status, err)
	}
	time.Sleep(idle)
	before := p.resident()

	most, ended := before, make(chan struct{})
	ctx, stop := context.WithCancel(b.Context())
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			most = max(most, p.resident())
			time.Sleep(10 * time.Millisecond)
		}
	}()

	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		counts = map[string]int{}
		begin  = make(chan struct{})
	)
	for i := range flood {
		all.Go(func() {
			client := newClient(b)
			<-begin
			name, password := "alice", "a wrong one, but long"
			if i%2 == 1 {
				name = fmt.Sprintf("nobody%d", i) // whose budget is untouched
			}
			if i%large == 0 {
				password = strings.Repeat("x", 1<<20)
			}
			header, status, err := post(client, p.url, fmt.Sprintf("10.%d.%d.1", 1+i/250, i%250), name, password)
			answer := fmt.Sprint(status)
			switch {
			case err != nil:
				answer = "cut off" // a body that nobody wants to read to its end
			case (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && header.Get("Retry-After") == "":
				answer += " without Retry-After"
			}
			mu.Lock()
			defer mu.Unlock()
			counts[answer]++
		})
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	close(begin)
	slowest, times := time.Duration(0), 0
	for flooding := true; flooding; times++ {
		select {
		case <-over:
			flooding = false
		default:
		}
		began := time.Now()
		_, status, err := post(owner, p.url, "10.0.0.1", "alice", floodPassword)
		if err != nil || status != http.StatusSeeOther {
			b.Fatalf("the known browser was kept out: %d, %v", status, err)
		}
		slowest = max(slowest, time.Since(began))
	}
	stop()
	<-ended

	row("memory over idle while 2,000 passwords come at once", most-before, 150*MB, MB, "MB")
	row(fmt.Sprintf("slowest of a known browser's %d sign-ins meanwhile", times), float64(slowest), float64(2*time.Second), float64(time.Millisecond), "ms")
	unlike := 0
	for answer, n := range counts {
		if !slices.Contains([]string{"422", "429", "503", "413", "cut off"}, answer) {
			unlike += n
		}
	}
	row("other answers than 422, 413, or 429 and 503 with Retry-After", float64(unlike), 0, 1, "")
	for _, answer := range slices.Sorted(maps.Keys(counts)) {
		fmt.Printf("%s: %d\n", answer, counts[answer])
	}
	p.stop()
}

func addAccount(b *testing.B, environ []string) {
	path, err := filepath.Abs(shipped)
	if err != nil {
		b.Fatal(err)
	}
	add := exec.Command(path, "account", "add", "alice", "--password-stdin")
	add.Env, add.Dir, add.Stdin, add.Stderr = environ, b.TempDir(), strings.NewReader(floodPassword), os.Stderr
	if err := add.Run(); err != nil {
		b.Fatal(err)
	}
}

// newClient returns a browser with a connection of its own.
func newClient(b *testing.B) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	return &http.Client{
		Jar: jar, Timeout: time.Minute, Transport: &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func post(client *http.Client, base, address, name, password string) (http.Header, int, error) {
	req, err := http.NewRequest(http.MethodPost, base+"/login", strings.NewReader(url.Values{"username": {name}, "password": {password}}.Encode()))
	if err != nil {
		return nil, 0, err
	}
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "X-Forwarded-For": {address}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Header, resp.StatusCode, err
}
