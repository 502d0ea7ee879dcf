package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// askAgain is the pause after a CA refused a host. Each try fails in two
	// ways, and Let's Encrypt bears five failures an hour.
	askAgain = 30 * time.Minute

	// forgetTime is how long autocert answers from a failure before it would ask
	// anew: a minute, and then some.
	forgetTime = time.Minute + 5*time.Second

	// answerTime is how long one answer of the CA may take.
	answerTime = 30 * time.Second
)

// authority is a CA that gives certificates by ACME (RFC 8555). Only our own
// job asks it for one, never somebody's connection: strangers could use up what
// it grants.
type authority struct {
	manager *autocert.Manager
	now     func() time.Time
	log     *slog.Logger

	mu      sync.Mutex
	refused map[string]refusal // by host
}

type refusal struct {
	at, next time.Time // when it was, and when the CA may be asked again
	err      error
}

var errNotServed = errors.New("no host of this portal")

// newAuthority returns a CA that gives certificates for the hosts that are served.
func newAuthority(ca CA, serves func(host string) bool, now func() time.Time, log *slog.Logger) *authority {
	a := &authority{now: now, log: log, refused: map[string]refusal{}}
	a.manager = &autocert.Manager{
		Prompt: func(terms string) bool {
			log.Info("the CA's terms of service are accepted, as tls.acme.accept_terms says", "terms", terms)
			return true
		},
		Cache: keptCertificates{ca.Dir, log},
		Email: ca.Email,
		Client: &acme.Client{
			DirectoryURL: ca.Directory, UserAgent: "sallyport", HTTPClient: &http.Client{Timeout: answerTime},
		},
		HostPolicy: func(_ context.Context, host string) error {
			if !serves(host) {
				return errNotServed
			}
			return nil
		},
	}
	return a
}

// again has the CA asked soon: what made it refuse may have changed.
func (a *authority) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for host, last := range a.refused {
		last.next = last.at.Add(forgetTime)
		a.refused[host] = last
	}
}

// certificate returns that of a host, from the CA where none is kept. It is
// renewed in time by itself, when a third of its life is left.
func (a *authority) certificate(ctx context.Context, host string) (*tls.Certificate, error) {
	a.mu.Lock()
	last := a.refused[host]
	a.mu.Unlock()
	if a.now().Before(last.next) {
		return nil, last.err
	}
	type answer struct {
		one *tls.Certificate
		err error
	}
	got := make(chan answer, 1) // it may come after the server's end
	go func() {
		one, err := a.manager.GetCertificate(modern(host))
		got <- answer{one, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case answer := <-got:
		if answer.err == nil {
			return answer.one, nil
		}
		a.log.Error("the CA issued no certificate; the host name must resolve to this server, and the CA must reach port 443, or port 80 if redirect_listen is set; Sallyport tries again in half an hour, or soon after a reload",
			"host", host, "reason", answer.err.Error())
		a.mu.Lock()
		defer a.mu.Unlock()
		now := a.now()
		a.refused[host] = refusal{now, now.Add(askAgain), answer.err}
		return nil, answer.err
	}
}

// modern is the greeting of a client that knows ECDSA, as all do that speak TLS
// 1.2.
func modern(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}
