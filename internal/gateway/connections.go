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

	pooled      *http.Transport // for requests without a body, in either HTTP
	http2Only   *http.Transport // for those with a body, where the panel speaks HTTP/2
	speaksHTTP2 atomic.Bool     // the panel answered in HTTP/2 the last time
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
	c.pooled, c.http2Only = c.new(), c.new()
	c.pooled.Protocols.SetHTTP1(true)
	c.pooled.Protocols.SetHTTP2(true)
	c.http2Only.Protocols.SetHTTP2(true)
	verify := c.http2Only.TLSClientConfig.VerifyConnection
	c.http2Only.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol != "h2" {
			return errors.New("the panel no longer offers HTTP/2; the next request uses HTTP/1.1")
		}
		if verify == nil {
			return nil
		}
		return verify(state)
	}
	return c
}

// RoundTrip sends a request over a connection that carries no state of another client.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	from := req.Context().Value(passedKey{}).(*passed)
	dedicated := hasConnectionAuth(req.Header["Authorization"])
	if dedicated {
		from.link.dedicate(from)
	}
	if own := from.link.transport(c, from); own != nil {
		req.Close = req.ContentLength != 0 // the client authenticates again
		return own.RoundTrip(req)
	}
	req.Close = req.ContentLength != 0 || dedicated
	if req.Close && !dedicated && c.speaksHTTP2.Load() {
		req.Close = false
		resp, err := c.http2Only.RoundTrip(req)
		if err != nil {
			c.speaksHTTP2.Store(false) // perhaps no more; the next request asks
		}
		return resp, err
	}
	resp, err := c.pooled.RoundTrip(req)
	if err == nil {
		c.speaksHTTP2.Store(resp.ProtoMajor == 2)
	}
	return resp, err
}

// link is the connection of a client to us.
type link struct {
	mu        sync.Mutex
	dedicated bool   // requests of the bearer go over connections of their own
	bearer    string // who authenticated to some panel
	closed    bool
	own       map[*connections]ownConnection
}

// ownConnection is a connection to a panel that serves one visit on one link.
type ownConnection struct {
	bearer    string
	transport *http.Transport
}

// mayDedicate reports whether a request's client can have a connection to the panel of its
// own: HTTP/2 isn't one request after the other, and whose requests a proxy sends over
// one connection is known only where the client is signed in.
func (p *passed) mayDedicate() bool {
	return p.link != nil && !p.multiplexed && (p.bearer != "" || !p.byProxy)
}

// dedicate has the bearer's requests that follow go over connections of their own, and
// nobody else's.
func (l *link) dedicate(from *passed) {
	if from.mayDedicate() {
		l.mu.Lock()
		l.dedicated, l.bearer = true, from.bearer
		l.mu.Unlock()
	}
}

// transport returns what carries a request over the link's own connection to a panel, or
// nil where it needs none or has none. It closes the transport of an earlier bearer.
func (l *link) transport(c *connections, from *passed) *http.Transport {
	if !from.mayDedicate() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dedicated || l.closed || l.bearer != from.bearer {
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
