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
	// answerTimeout is how long an answer may take. Sallyport refuses much faster.
	answerTimeout = 10 * time.Second

	// dialTimeout is how long connecting may take. If a firewall drops the packets, no error
	// comes before that.
	dialTimeout = 3 * time.Second

	// bodyTimeout is how long a body is read. Some bodies never end.
	bodyTimeout = 2 * time.Second

	// maxBody is how many bytes of a body are read: enough for its title.
	maxBody = 64 << 10

	// userAgent is one for which no proxy makes an exception.
	userAgent = "Mozilla/5.0 (compatible; sallyport-doctor)"
)

// Connect redirects connections to Host and Port to ToHost and ToPort, like curl's
// --connect-to. An empty Host or Port matches any; an empty ToHost or ToPort keeps the
// original.
type Connect struct{ Host, Port, ToHost, ToPort string }

// UnmarshalText accepts HOST1:PORT1:HOST2:PORT2, with IPv6 addresses in brackets.
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

// request is a request to send.
type request struct {
	method      string // empty: GET
	origin      string // scheme and host; the host is the server name in TLS
	via         string // origin that names the address to connect to; empty: origin
	host        string // the Host header; empty: that of origin
	path        string // the target in the request line
	header      http.Header
	description string // what is special about it, for findings; may be empty
	raw         *rawHead
}

// rawHead is the beginning of a request that net/http refuses to send.
type rawHead struct {
	version string   // of HTTP
	target  string   // the target in the request line; empty: the path
	hosts   []string // the value of each Host line
}

// String describes the request, for a finding.
func (r request) String() string {
	text := r.methodOrGet() + " " + r.path
	if r.description != "" {
		text += ", " + r.description
	}
	if r.host != "" {
		text += ", Host: " + r.host
	}
	return text
}

func (r request) methodOrGet() string {
	if r.method == "" {
		return http.MethodGet
	}
	return r.method
}

// withHeader returns the request with one more header.
func (r request) withHeader(name, value string) request {
	header := r.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header[name] = append(header[name], value)
	r.header = header
	return r
}

// answer is the answer to a request. If err isn't nil, the request had no answer, and the
// other fields are zero.
type answer struct {
	status int
	header http.Header
	body   string
	tls    *tls.ConnectionState
	err    error
}

// String describes the answer, for a finding.
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

// reason returns the text of an error without the URL, which the finding has already.
func reason(err error) string {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return err.Error()
}

func (a answer) title() string {
	lower := strings.ToLower(a.body)
	start := strings.Index(lower, "<title>")
	if start < 0 || len(lower) != len(a.body) {
		return ""
	}
	title, _, _ := strings.Cut(a.body[start+len("<title>"):], "<")
	return strings.Join(strings.Fields(title), " ")
}

// isTimeout reports whether there was no answer in time.
func (a answer) isTimeout() bool {
	var timeout net.Error
	return errors.As(a.err, &timeout) && timeout.Timeout()
}

// client sends requests without cookies, and follows no redirect. It accepts every
// certificate, so that a wrong one hides no other finding; doctor.testCertificate checks
// certificates.
type client struct {
	connect   []Connect
	transport *http.Transport
	lookup    func(ctx context.Context, network, host string) ([]netip.Addr, error)
	sent      int // number of requests
}

type viaKey struct{}

func newClient(connect []Connect) *client {
	c := &client{connect: connect, lookup: net.DefaultResolver.LookupNetIP}
	c.transport = &http.Transport{
		DialContext:        c.dial,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
		DisableCompression: true,
		// Each request must use a connection to its own name and address.
		DisableKeepAlives: true,
	}
	return c
}

func (c *client) send(ctx context.Context, r request) answer {
	c.sent++
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, viaKey{}, r.via), answerTimeout)
	defer cancel()
	if r.raw != nil {
		return c.sendRaw(ctx, r)
	}
	req, err := http.NewRequestWithContext(ctx, r.methodOrGet(), r.origin+r.path, nil)
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
		// A part of the body is enough.
		defer time.AfterFunc(bodyTimeout, cancel).Stop()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		a.body = string(text)
	}
	return a
}

// sendRaw sends a request with its raw head.
func (c *client) sendRaw(ctx context.Context, r request) answer {
	conn, err := c.connectTo(ctx, r.origin)
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close()
	target := r.raw.target
	if target == "" {
		target = r.path
	}
	head := r.methodOrGet() + " " + target + " HTTP/" + r.raw.version + "\r\n"
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
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.methodOrGet()})
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	defer time.AfterFunc(bodyTimeout, func() { conn.Close() }).Stop()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
}

// connectTo connects to an origin, with TLS if its scheme is https. The connection has the
// context's deadline.
func (c *client) connectTo(ctx context.Context, origin string) (net.Conn, error) {
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
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, c.dialAddress(address))
}

// dialAddress returns the address to connect to in place of address; see [Connect].
func (c *client) dialAddress(address string) string {
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

// addresses returns the IP addresses of an origin, or nil if it can't be resolved.
func (c *client) addresses(ctx context.Context, origin string) []netip.Addr {
	host, _, err := net.SplitHostPort(c.dialAddress(hostPort(origin)))
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
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

// listeners returns the IP addresses of an origin with the port to which connections go.
func (c *client) listeners(ctx context.Context, origin string) []string {
	_, port, _ := net.SplitHostPort(c.dialAddress(hostPort(origin)))
	var all []string
	for _, addr := range c.addresses(ctx, origin) {
		all = append(all, net.JoinHostPort(addr.String(), port))
	}
	return all
}

// addressList returns the IP addresses of an origin as text, for a finding.
func (c *client) addressList(ctx context.Context, origin string) string {
	var all []string
	for _, addr := range c.addresses(ctx, origin) {
		all = append(all, addr.String())
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// sendMalformed sends a malformed request line and returns the beginning of the answer. Some
// proxies can be recognised only by that answer.
func (c *client) sendMalformed(ctx context.Context, origin string) string {
	c.sent++
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := c.connectTo(ctx, origin)
	if err != nil {
		return ""
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /a b c HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", hostOf(origin))
	text, _ := io.ReadAll(io.LimitReader(conn, maxBody))
	return string(text)
}

// hostOf returns the host of an origin, with its port if the origin has one.
func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// nameOf returns the canonical host of an origin without its port.
func nameOf(origin string) string {
	name, err := access.CanonicalHost(hostOf(origin))
	if err != nil {
		return hostOf(origin)
	}
	return name
}

// hostPort returns the host and port of an origin; the port may be the scheme's default.
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
