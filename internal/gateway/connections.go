package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/access"
)

// Connections to a panel are shared by all people, so nothing that one request leaves on
// a connection may reach the next:
//
//   - A body that the panel doesn't read would become its next request, with whatever
//     identity headers it holds. A connection that carried a body isn't used again, unless
//     it is of HTTP/2, which keeps requests apart.
//   - With NTLM and Negotiate a server remembers who authenticated on a connection (RFC
//     4559, section 6). Such requests go over a connection that belongs to one client's
//     connection and one visit.

// Trust is how the gateway knows a panel's own server by its certificate, where it isn't
// known as any website is.
type Trust struct {
	Authorities *x509.CertPool // who may have signed it; nil: those that this machine trusts
	Name        string         // whom it must be for; empty: the host of the address
	Fingerprint []byte         // SHA-256 of the one certificate that is right, which then needs nothing else; or nil
}

// errFingerprint: the panel shows another certificate than the declared one.
var errFingerprint = errors.New("the panel's certificate has another fingerprint")

// config returns how a connection is verified.
func (t Trust) config() *tls.Config {
	c := &tls.Config{RootCAs: t.Authorities, ServerName: t.Name}
	if t.Fingerprint != nil {
		c.InsecureSkipVerify = true // names, dates and signers, but for the certificate itself:
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) > 0 {
				sum := sha256.Sum256(state.PeerCertificates[0].Raw)
				if subtle.ConstantTimeCompare(sum[:], t.Fingerprint) == 1 {
					return nil
				}
			}
			return errFingerprint
		}
	}
	return c
}

// connections are those of the gateway to its panel.
type connections struct {
	proxies access.Proxies
	new     func() *http.Transport

	pooled *http.Transport // for requests without a body, in either HTTP
	twos   *http.Transport // for those with a body, where the panel speaks HTTP/2
	isTwo  atomic.Bool     // the panel answered in HTTP/2 the last time
}

func newConnections(o Options) *connections {
	within := o.AnswerWithin
	if within == 0 {
		within = AnswerWithin
	}
	c := &connections{proxies: o.Proxies}
	c.new = func() *http.Transport {
		return &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSClientConfig:       o.Trust.config(),
			ResponseHeaderTimeout: within,
			TLSHandshakeTimeout:   dialTime,
			MaxIdleConnsPerHost:   idleConns,
			IdleConnTimeout:       idleTime,
			DisableCompression:    true, // what the panel sends is passed as it is
			Protocols:             &http.Protocols{},
		}
	}
	c.pooled, c.twos = c.new(), c.new()
	c.pooled.Protocols.SetHTTP1(true)
	c.pooled.Protocols.SetHTTP2(true)
	c.twos.Protocols.SetHTTP2(true)
	verify := c.twos.TLSClientConfig.VerifyConnection
	c.twos.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol != "h2" {
			c.isTwo.Store(false)
			return errors.New("the panel speaks HTTP/2 no more; the next request will do without")
		}
		if verify == nil {
			return nil
		}
		return verify(state)
	}
	return c
}

// RoundTrip sends a request over a connection that nothing else is left on.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	from := req.Context().Value(passedKey{}).(*passed)
	if remembers(req.Header["Authorization"]) {
		from.link.pin()
	}
	if own := from.link.transport(c, from); own != nil {
		return own.RoundTrip(req)
	}
	req.Close = req.ContentLength != 0 || remembers(req.Header["Authorization"])
	if req.Close && c.isTwo.Load() {
		req.Close = false
		return c.twos.RoundTrip(req)
	}
	resp, err := c.pooled.RoundTrip(req)
	if err == nil {
		c.isTwo.Store(resp.ProtoMajor == 2)
	}
	return resp, err
}

// link is the connection of a client to us.
type link struct {
	mu     sync.Mutex
	pinned bool // some panel remembers who authenticated
	closed bool
	own    map[*connections]ownConnection
}

// ownConnection is a connection to a panel that serves one visit on one link.
type ownConnection struct {
	bearer    string
	transport *http.Transport
}

// pin has the requests that follow go over connections of their own.
func (l *link) pin() {
	if l != nil {
		l.mu.Lock()
		l.pinned = true
		l.mu.Unlock()
	}
}

// transport returns what carries a request over the link's own connection to a panel, or
// nil where it needs none or has none: HTTP/2 isn't one request after the other, and
// whose requests a proxy sends over one connection is only known where somebody is signed
// in. What served another visit before is closed.
func (l *link) transport(c *connections, from *passed) *http.Transport {
	if l == nil || from.multiplexed || from.bearer == "" && from.byProxy {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.pinned || l.closed {
		return nil
	}
	one, ok := l.own[c]
	if ok && one.bearer == from.bearer {
		return one.transport
	}
	if ok {
		one.transport.CloseIdleConnections()
	}
	one = ownConnection{from.bearer, c.new()}
	one.transport.Protocols.SetHTTP1(true)
	if l.own == nil {
		l.own = map[*connections]ownConnection{}
	}
	l.own[c] = one
	return one.transport
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, one := range l.own {
		one.transport.CloseIdleConnections()
	}
	l.own = nil
}

// Links follows the connections of clients for a server: its methods are what an
// [http.Server] calls. The zero value is ready.
type Links struct{ open sync.Map } // net.Conn to *link

type linkKey struct{}

// ConnContext is for the field of that name.
func (s *Links) ConnContext(ctx context.Context, conn net.Conn) context.Context {
	l := &link{}
	s.open.Store(conn, l)
	return context.WithValue(ctx, linkKey{}, l)
}

// ConnState is for the field of that name.
func (s *Links) ConnState(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	if l, ok := s.open.LoadAndDelete(conn); ok {
		l.(*link).close()
	}
}

// linkOf returns the connection that a request came over, or nil where nobody follows it.
func linkOf(ctx context.Context) *link {
	l, _ := ctx.Value(linkKey{}).(*link)
	return l
}
