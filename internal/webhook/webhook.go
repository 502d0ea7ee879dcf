// Package webhook reports events to another server by signed HTTP requests, in the form of
// Standard Webhooks 1.0.0. It owns no table: the outbox stores requests until they are sent,
// repeats those that failed, and decides by the status of the answer what happens next.
//
// The operator configures the URL, but the address of its host comes from DNS and can change. The
// owner of the host's name must not be able to make Sallyport send requests into its internal
// network. So each address is checked when a connection is made to it.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// Timeout limits one request, from the look-up of the name to the end of the answer. Standard
// Webhooks recommends 15 to 30 seconds.
const Timeout = 15 * time.Second

const (
	// maxAnswer is how many bytes of an answer's body are read. Only the status counts, but the
	// body is read so that the connection ends properly.
	maxAnswer = 4 << 10

	// maxHeader is the maximum size, in bytes, of an answer's headers. A receiver behind a proxy
	// can have some kilobytes of cookies and policies there, which are not used.
	maxHeader = 16 << 10
)

// Names of the headers (Standard Webhooks, "Webhook Headers").
const (
	idHeader        = "webhook-id"
	timestampHeader = "webhook-timestamp"
	signatureHeader = "webhook-signature"
)

// Client sends requests to one receiver. It is safe for concurrent use.
type Client struct {
	URL *url.URL // http or https
	// Keys sign each request; each key makes one signature. There is one key, or two while the
	// receiver's key is being changed; see [ParseSecrets].
	Keys []secret.Text
	// Networks are the networks in which a receiver can be private and can be reached without TLS.
	Networks []netip.Prefix
	// Roots are the CAs that may have issued the receiver's certificate; nil: this machine's CAs.
	Roots *x509.CertPool
	// Trace, if it isn't nil, is called with lines about each request. They never contain keys.
	Trace func(line string)

	resolver *net.Resolver // nil: this machine's resolver
}

// errSlow means that the receiver didn't answer in time.
var errSlow = fmt.Errorf("the receiver took longer than %v", Timeout)

// Send sends one request and returns the status of the answer, whatever the status is. It follows
// no redirect and uses no proxy. The parameter id is the event's id. It is the same in each try, so
// that the receiver can ignore repetitions. The parameter now is the time of this try.
func (c *Client) Send(ctx context.Context, id string, now time.Time, body []byte) (status int, err error) {
	if id == "" || strings.Contains(id, ".") {
		return 0, fmt.Errorf("the id %q can't be signed", id) // the signed text would be ambiguous
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, errSlow)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	var signatures []string
	for _, key := range c.Keys {
		signatures = append(signatures, Sign(key, id, now, body))
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Sallyport")
	r.Header.Set(idHeader, id)
	r.Header.Set(timestampHeader, strconv.FormatInt(now.Unix(), 10))
	r.Header.Set(signatureHeader, strings.Join(signatures, " "))
	c.traceRequest(r, body)

	// Unlike an [http.Client], a transport follows no redirects and has no cookies. This one
	// doesn't reuse connections, since requests are rare and an address is checked only when a
	// connection is made.
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: Timeout, Resolver: c.resolver, ControlContext: c.check}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    Timeout,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, cause(ctx, err)
	}
	defer answer.Body.Close()
	// After "101 Switching Protocols", the transport leaves it to its caller to close the connection.
	defer context.AfterFunc(ctx, func() { answer.Body.Close() })()
	start, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	c.traceAnswer(answer, start)
	return answer.StatusCode, nil
}

// cause returns the error that tells the operator best why there is no answer.
func cause(ctx context.Context, err error) error {
	var forbidden *AddressError
	switch {
	case errors.As(err, &forbidden):
		return forbidden
	case context.Cause(ctx) == errSlow:
		return errSlow
	}
	return err
}

// check returns an error if no connection may be made to the address. The dialer calls check after
// the look-up of the name, with the address that it is about to connect to. So no second look-up
// can give a different address.
func (c *Client) check(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return CheckAddress(c.URL.Scheme, to.Addr(), c.Networks)
}

func (c *Client) trace(format string, args ...any) {
	if c.Trace != nil {
		c.Trace(fmt.Sprintf(format, args...))
	}
}

// traceRequest traces the request in the form of HTTP. The trace contains the signature, which
// doesn't reveal the key.
func (c *Client) traceRequest(r *http.Request, body []byte) {
	c.trace("-> POST %s", r.URL.RequestURI())
	c.trace("-> Host: %s", r.URL.Host)
	for _, name := range []string{"Content-Type", idHeader, timestampHeader, signatureHeader} {
		c.trace("-> %s: %s", strings.ToLower(name), r.Header.Get(name))
	}
	c.trace("-> %s", body)
}

// traceAnswer traces the status of the answer and the beginning of its body.
func (c *Client) traceAnswer(answer *http.Response, start []byte) {
	c.trace("<- %s", strconv.Quote(answer.Status))
	if len(start) > 0 {
		c.trace("<- %s", strconv.Quote(string(start)))
	}
}
