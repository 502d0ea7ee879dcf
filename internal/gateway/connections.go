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

// The connections to a panel are shared by all users, so one request must not affect the next
// one on the same connection:
//
//   - If the panel doesn't read a request's body, it reads the body as its next request, and
//     the body may have any identity headers. So a connection that carried a body isn't used
//     again, unless it is an HTTP/2 connection, which keeps requests apart.
//   - With NTLM and Negotiate, a server treats the requests that follow on a connection as
//     authenticated (RFC 4559, section 6). For such requests the gateway opens a separate
//     connection to the panel for each client connection and visit, and never shares it.

// Trust is how the gateway verifies the certificate of a panel's server. The zero value
// verifies it as for any website.
type Trust struct {
	Authorities *x509.CertPool // accepted signers; nil: those that this machine trusts
	Name        string         // the name in the certificate; empty: the host of the address
	Fingerprint []byte         // SHA-256 of the only accepted certificate, which replaces all other checks; or nil
}

// errFingerprint means that the panel's certificate isn't the declared one.
var errFingerprint = errors.New("the panel's certificate has another fingerprint")

// config returns the TLS configuration of connections to the panel.
func (t Trust) config() *tls.Config {
	c := &tls.Config{RootCAs: t.Authorities, ServerName: t.Name}
	if t.Fingerprint != nil {
		c.InsecureSkipVerify = true // VerifyConnection checks the certificate instead
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

// connections are the connections of the gateway to its panel.
type connections struct {
	proxies      access.Proxies
	newTransport func() *http.Transport

	pooled    *http.Transport // for requests without a body, in HTTP/1.1 or HTTP/2
	http2Only *http.Transport // for requests with a body, if the panel uses HTTP/2
	usesHTTP2 atomic.Bool     // the last answer of the panel was in HTTP/2
}

func newConnections(o Options) *connections {
	within := o.AnswerWithin
	if within == 0 {
		within = AnswerWithin
	}
	c := &connections{proxies: o.Proxies}
	c.newTransport = func() *http.Transport {
		return &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSClientConfig:       o.Trust.config(),
			ResponseHeaderTimeout: within,
			TLSHandshakeTimeout:   dialTime,
			MaxIdleConnsPerHost:   idleConns,
			IdleConnTimeout:       idleTime,
			DisableCompression:    true, // the client gets the answer as the panel sends it
			Protocols:             &http.Protocols{},
		}
	}
	c.pooled, c.http2Only = c.newTransport(), c.newTransport()
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

// RoundTrip sends a request over a connection that has no state of another client.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	fwd := req.Context().Value(forwardedKey{}).(*forwarded)
	dedicated := hasConnectionAuth(req.Header["Authorization"])
	if dedicated {
		fwd.conn.dedicate(fwd)
	}
	if own := fwd.conn.transport(c, fwd); own != nil {
		req.Close = req.ContentLength != 0 // on a new connection the client authenticates again
		return own.RoundTrip(req)
	}
	req.Close = req.ContentLength != 0 || dedicated
	if req.Close && !dedicated && c.usesHTTP2.Load() {
		req.Close = false
		resp, err := c.http2Only.RoundTrip(req)
		if err != nil {
			c.usesHTTP2.Store(false) // perhaps the panel's server no longer uses it; the next request tries HTTP/1.1 too
		}
		return resp, err
	}
	resp, err := c.pooled.RoundTrip(req)
	if err == nil {
		c.usesHTTP2.Store(resp.ProtoMajor == 2)
	}
	return resp, err
}

// clientConn is the connection of a client to Sallyport.
type clientConn struct {
	mu        sync.Mutex
	dedicated bool   // the bearer's requests use connections of their own
	bearer    string // the visit or pass that authenticated to some panel
	closed    bool
	ownConns  map[*connections]ownConnection
}

// ownConnection is a connection to a panel for one visit or pass on one client connection.
type ownConnection struct {
	bearer    string
	transport *http.Transport
}

// mayDedicate reports whether the client may have its own connection to the panel. A client with an
// HTTP/2 connection may not: its requests are concurrent, so none is the next one on the
// connection. A proxy may send the requests of several clients over one connection, so a client
// behind a proxy must be signed in.
func (f *forwarded) mayDedicate() bool {
	return f.conn != nil && !f.multiplexed && (f.bearer != "" || !f.byProxy)
}

// dedicate gives the bearer's later requests on this client connection their own connections
// to panels.
func (conn *clientConn) dedicate(fwd *forwarded) {
	if fwd.mayDedicate() {
		conn.mu.Lock()
		conn.dedicated, conn.bearer = true, fwd.bearer
		conn.mu.Unlock()
	}
}

// transport returns a transport to the panel of c that only this client connection uses. It
// returns nil unless dedicate was called for the bearer of fwd. It closes the transport of an
// earlier bearer.
func (conn *clientConn) transport(c *connections, fwd *forwarded) *http.Transport {
	if !fwd.mayDedicate() {
		return nil
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if !conn.dedicated || conn.closed || conn.bearer != fwd.bearer {
		return nil
	}
	own, ok := conn.ownConns[c]
	if ok && own.bearer == fwd.bearer {
		return own.transport
	}
	if ok {
		own.transport.CloseIdleConnections()
	}
	own = ownConnection{fwd.bearer, c.newTransport()}
	own.transport.Protocols.SetHTTP1(true)
	if conn.ownConns == nil {
		conn.ownConns = map[*connections]ownConnection{}
	}
	conn.ownConns[c] = own
	return own.transport
}

func (conn *clientConn) close() {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	conn.closed = true
	for _, own := range conn.ownConns {
		own.transport.CloseIdleConnections()
	}
	conn.ownConns = nil
}

// ClientConns keeps the state of the connections that clients have to a server. Its methods
// are for the fields of [http.Server] with the same names. The zero value is ready to use.
type ClientConns struct{ open sync.Map } // net.Conn to *clientConn

type clientConnKey struct{}

// ConnContext adds the state of a new connection to the context of its requests.
func (s *ClientConns) ConnContext(ctx context.Context, conn net.Conn) context.Context {
	state := &clientConn{}
	s.open.Store(conn, state)
	return context.WithValue(ctx, clientConnKey{}, state)
}

// ConnState closes the connections to panels that belong to a client connection, when the client
// connection ends or is hijacked.
func (s *ClientConns) ConnState(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	if ended, ok := s.open.LoadAndDelete(conn); ok {
		ended.(*clientConn).close()
	}
}

// clientConnOf returns the client connection of a request, or nil if the server doesn't use
// [ClientConns].
func clientConnOf(ctx context.Context) *clientConn {
	conn, _ := ctx.Value(clientConnKey{}).(*clientConn)
	return conn
}
