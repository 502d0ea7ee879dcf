package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// askTime is how long one answer may take: a gate's refusal takes a moment.
	askTime = 10 * time.Second

	// dialTime is how long a connection may take; a firewall that drops is slow.
	dialTime = 3 * time.Second

	// bodyTime is how long an answer is read, once it began: some never end.
	bodyTime = 2 * time.Second

	// mostBody is how much of an answer is read: enough for a title.
	mostBody = 64 << 10

	// userAgent is nobody's that a proxy lets through.
	userAgent = "Mozilla/5.0 (compatible; sallyport-doctor)"
)

// Connect leads connections elsewhere than the resolver would, as curl's
// --connect-to does: from Host and Port, either of which may be empty for any,
// to ToHost and ToPort, either of which may be empty for the same.
type Connect struct{ Host, Port, ToHost, ToPort string }

// UnmarshalText reads HOST1:PORT1:HOST2:PORT2; IPv6 addresses are in brackets.
func (c *Connect) UnmarshalText(text []byte) error {
	var parts []string
	rest := string(text)
	for range 3 {
		end := strings.IndexByte(rest, ':')
		if strings.HasPrefix(rest, "[") {
			end = strings.Index(rest, "]:") + 1
		}
		if end < 0 || strings.HasPrefix(rest, "[") && end == 0 {
			return fmt.Errorf("%q isn't HOST1:PORT1:HOST2:PORT2", text)
		}
		parts, rest = append(parts, strings.Trim(rest[:end], "[]")), rest[end+1:]
	}
	*c = Connect{parts[0], parts[1], parts[2], rest}
	return nil
}

// request is something to ask.
type request struct {
	method string // GET, if empty
	origin string // scheme and host that is asked; TLS names it
	via    string // origin whose address is connected to; origin's own, if empty
	host   string // the Host header; origin's, if empty
	path   string // as it stands in the request line
	header http.Header
	called string // what a person calls it, where the request line says too little
	raw    *rawHead
}

// rawHead is the beginning of a request that Go's client refuses to send.
type rawHead struct {
	version string   // of HTTP
	target  string   // what stands in the request line; the path, if empty
	hosts   []string // the value of each Host line
}

// String says what was asked, for a finding.
func (r request) String() string {
	text := r.verb() + " " + r.path
	if r.called != "" {
		text += ", " + r.called
	}
	if r.host != "" {
		text += ", Host: " + r.host
	}
	return text
}

func (r request) verb() string {
	if r.method == "" {
		return http.MethodGet
	}
	return r.method
}

// with returns the request with one more header.
func (r request) with(name, value string) request {
	header := r.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header[name] = append(header[name], value)
	r.header = header
	return r
}

// answer is what came back; where err isn't nil, nothing did.
type answer struct {
	status int
	header http.Header
	body   string
	tls    *tls.ConnectionState
	err    error
}

// String says what came back, for a finding.
func (a answer) String() string {
	switch {
	case a.err != nil:
		return "no answer: " + reason(a.err)
	case a.status >= 300 && a.status < 400:
		return fmt.Sprintf("%d to %s", a.status, a.header.Get("Location"))
	case a.title() != "":
		return fmt.Sprintf("%d, %q", a.status, a.title())
	}
	return strings.TrimSpace(fmt.Sprint(a.status, " ", a.header.Get("Content-Type")))
}

// reason is the error without the address that the finding has already.
func reason(err error) string {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return err.Error()
}

func (a answer) title() string {
	lower := strings.ToLower(a.body)
	begin := strings.Index(lower, "<title>")
	if begin < 0 || len(lower) != len(a.body) {
		return ""
	}
	title, _, _ := strings.Cut(a.body[begin+len("<title>"):], "<")
	return strings.Join(strings.Fields(title), " ")
}

// timedOut reports whether nothing came back in time.
func (a answer) timedOut() bool {
	var timeout net.Error
	return errors.As(a.err, &timeout) && timeout.Timeout()
}

// client asks as a stranger would: without cookies, following nothing. What TLS
// says of the server is looked at by [doctor.certificate], so that a bad
// certificate hides nothing else.
type client struct {
	connect   []Connect
	transport *http.Transport
	lookup    func(ctx context.Context, network, host string) ([]netip.Addr, error)
	asked     int
}

type viaKey struct{}

func newClient(connect []Connect) *client {
	c := &client{connect: connect, lookup: net.DefaultResolver.LookupNetIP}
	c.transport = &http.Transport{
		DialContext:        c.dial,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
		DisableCompression: true,
		// A connection belongs to one name and address.
		DisableKeepAlives: true,
	}
	return c
}

func (c *client) ask(ctx context.Context, r request) answer {
	c.asked++
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, viaKey{}, r.via), askTime)
	defer cancel()
	if r.raw != nil {
		return c.askRaw(ctx, r)
	}
	req, err := http.NewRequestWithContext(ctx, r.verb(), r.origin+r.path, nil)
	if err != nil {
		return answer{err: err}
	}
	req.Host = r.host
	req.Header.Set("User-Agent", userAgent)
	for name, values := range r.header {
		req.Header[name] = values
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, tls: resp.TLS}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		// Half a body is enough to judge by.
		defer time.AfterFunc(bodyTime, cancel).Stop()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, mostBody))
		a.body = string(text)
	}
	return a
}

// askRaw sends a request as its raw head says.
func (c *client) askRaw(ctx context.Context, r request) answer {
	conn, err := c.open(ctx, r.origin)
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close()
	target := r.raw.target
	if target == "" {
		target = r.path
	}
	head := r.verb() + " " + target + " HTTP/" + r.raw.version + "\r\n"
	for _, host := range r.raw.hosts {
		head += "Host: " + host + "\r\n"
	}
	head += "User-Agent: " + userAgent + "\r\nConnection: close\r\n"
	for name, values := range r.header {
		for _, value := range values {
			head += name + ": " + value + "\r\n"
		}
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return answer{err: err}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.verb()})
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	defer time.AfterFunc(bodyTime, func() { conn.Close() }).Stop()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
}

// open connects to an origin, by TLS where its scheme says so. The connection ends with
// the context's deadline.
func (c *client) open(ctx context.Context, origin string) (net.Conn, error) {
	conn, err := c.dial(ctx, "tcp", hostPort(origin))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	if strings.HasPrefix(origin, "https://") {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: nameOf(origin)}), nil
	}
	return conn, nil
}

func (c *client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if via, _ := ctx.Value(viaKey{}).(string); via != "" {
		address = hostPort(via)
	}
	return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, c.led(address))
}

// led returns where connections to an address go.
func (c *client) led(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	for _, one := range c.connect {
		if one.Host != "" && !strings.EqualFold(one.Host, host) || one.Port != "" && one.Port != port {
			continue
		}
		if one.ToHost != "" {
			host = one.ToHost
		}
		if one.ToPort != "" {
			port = one.ToPort
		}
		break
	}
	return net.JoinHostPort(host, port)
}

// addresses returns where an origin is reached, none where it can't be found.
func (c *client) addresses(ctx context.Context, origin string) []netip.Addr {
	host, _, err := net.SplitHostPort(c.led(hostPort(origin)))
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	found, err := c.lookup(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found
}

// where returns where an origin is reached, for a finding.
func (c *client) where(ctx context.Context, origin string) string {
	var all []string
	for _, addr := range c.addresses(ctx, origin) {
		all = append(all, addr.String())
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// malformed sends a request line that isn't one and returns the answer's
// beginning: proxies that don't name themselves are told apart by it.
func (c *client) malformed(ctx context.Context, origin string) string {
	c.asked++
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := c.open(ctx, origin)
	if err != nil {
		return ""
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /a b c HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", hostOf(origin))
	text, _ := io.ReadAll(io.LimitReader(conn, mostBody))
	return string(text)
}

// hostOf returns host, and port where one is written, of an origin.
func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// nameOf returns the canonical host of an origin, without its port.
func nameOf(origin string) string {
	name, err := access.CanonicalHost(hostOf(origin))
	if err != nil {
		return hostOf(origin)
	}
	return name
}

// hostPort returns the host of an origin with its port.
func hostPort(origin string) string {
	host := hostOf(origin)
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	port := "80"
	if strings.HasPrefix(origin, "https://") {
		port = "443"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
