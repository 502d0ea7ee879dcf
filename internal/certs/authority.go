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
	// askAgain is the pause after a CA refused a host. Each attempt may count as two
	// failures, one for each kind of challenge, and Let's Encrypt allows five an hour.
	askAgain = 30 * time.Minute

	// forgetTime is a little longer than the minute for which autocert caches a
	// failure.
	forgetTime = time.Minute + 5*time.Second

	// answerTime is the timeout of one request to the CA.
	answerTime = 30 * time.Second
)

// authority asks a CA for certificates by ACME (RFC 8555). Only a job calls it, never a
// connection: strangers could otherwise use up the CA's rate limits.
type authority struct {
	manager *autocert.Manager
	now     func() time.Time
	log     *slog.Logger

	mu      sync.Mutex
	refused map[string]refusal // by host
}

type refusal struct {
	at, next time.Time // the time of the refusal, and of the next attempt
	err      error
}

var errNotServed = errors.New("no host of this portal")

// newAuthority returns an authority that asks for certificates of the hosts for which
// serves returns true.
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

// shortenPauses shortens the pauses after refusals, since a reload may have removed their cause.
func (a *authority) shortenPauses() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for host, last := range a.refused {
		last.next = last.at.Add(forgetTime)
		a.refused[host] = last
	}
}

// certificate returns the stored certificate of a host, or asks the CA for one. autocert renews
// it when a third of its life is left.
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
	got := make(chan answer, 1) // buffered: the answer may come after ctx has ended
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

// modern returns the ClientHello of a client that supports ECDSA, as every client with
// TLS 1.2 does. autocert would use RSA for others.
func modern(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}
