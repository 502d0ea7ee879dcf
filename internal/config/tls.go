package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// letsEncrypt is the URL of Let's Encrypt's ACME directory.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// mostPairs is enough for one pair for the portal and one for each panel.
const mostPairs = mostPanels + 1

// Pair is a certificate and its key, in files that are read again when they change.
type Pair struct {
	// Cert is a PEM file with the certificate, followed by those of the intermediate CAs.
	Cert string `yaml:"cert"`

	// Key is a PEM file with the private key. Others must not be able to read it, and the
	// group only if root owns it.
	Key string `yaml:"key"`
}

// TerminatesTLS reports whether Sallyport terminates TLS itself.
func (c Config) TerminatesTLS() bool { return len(c.TLS.Certificates) > 0 || c.TLS.ACME.AcceptTerms }

// ACMEDir returns the directory of the ACME account's key and of the certificates from the CA.
func (c Config) ACMEDir() string { return c.inDataDir("acme") }

var errNoTerms = errors.New("has no effect until tls.acme.accept_terms is true: read the CA's terms of service, then write true there")

// checkTLS adds the faults of tls and redirect_listen.
func checkTLS(c Config, fault func(err error, keys ...string)) {
	acme := c.TLS.ACME
	if !acme.AcceptTerms && acme.Email != "" {
		fault(errNoTerms, "tls.acme.email")
	} else if !acme.AcceptTerms && acme.Directory != letsEncrypt {
		fault(errNoTerms, "tls.acme.directory")
	}
	fault(checkEmail(acme.Email), "tls.acme.email")
	fault(checkDirectory(acme.Directory), "tls.acme.directory")
	checkRedirect(c, fault)
	if len(c.TLS.Certificates) > mostPairs {
		fault(fmt.Errorf("has %d items; at most %d are allowed", len(c.TLS.Certificates), mostPairs), "tls.certificates")
		return
	}
	for i, pair := range c.TLS.Certificates {
		key := fmt.Sprintf("tls.certificates[%d]", i)
		fault(checkFile(pair.Cert), key+".cert", key)
		fault(checkFile(pair.Key), key+".key", key)
	}
	if !c.TerminatesTLS() {
		return
	}
	if acme.AcceptTerms && len(c.TLS.Certificates) > 0 {
		fault(errors.New("gets certificates from a CA, and tls.certificates reads them from files; keep only one"), "tls.acme.accept_terms", "tls.certificates")
	}
	if c.PublicURL.Scheme == "http" {
		fault(fmt.Errorf("must begin with https://, since tls is set up; it is %s", c.PublicURL), "public_url", "tls.certificates", "tls.acme.accept_terms")
		return
	}
	checkTLSHosts(c, fault)
}

// checkTLSHosts adds a fault for each host for which Sallyport can't terminate TLS.
func checkTLSHosts(c Config, fault func(err error, keys ...string)) {
	check := func(origin Origin, keys ...string) {
		host := origin.Hostname()
		_, err := netip.ParseAddr(host)
		switch {
		case origin == (Origin{}):
		case origin.Scheme == "http":
			fault(fmt.Errorf("%s is http, but the gateway serves it over TLS, since tls is set up; write https", origin), keys...)
		case c.TLS.ACME.AcceptTerms && (err == nil || !strings.Contains(host, ".")):
			fault(fmt.Errorf("no CA issues a certificate for %s by ACME; use a public host name, or tls.certificates", host), keys...)
		case err == nil && origin != c.PublicURL:
			fault(fmt.Errorf("%s is an address, which clients don't name in TLS: they would get the portal's certificate; use a host name", host), keys...)
		}
	}
	check(c.PublicURL, "public_url")
	for i, p := range c.Panels {
		if key := fmt.Sprintf("panels[%d]", i); p.Upstream != (Upstream{}) {
			check(p.URL, key+".url", key)
		}
	}
}

func checkRedirect(c Config, fault func(err error, keys ...string)) {
	if c.RedirectListen == "" {
		return
	}
	_, _, err := splitListen(c.RedirectListen)
	switch {
	case err != nil:
	case c.RedirectListen == c.Listen || c.RedirectListen == c.MetricsListen:
		err = errors.New("is the address of another listener; choose another port")
	case !c.TerminatesTLS():
		err = errors.New("redirects to Sallyport's own https, but tls isn't set up; behind a proxy, let the proxy redirect")
	}
	fault(err, "redirect_listen", "listen", "metrics_listen")
}

func checkFile(path string) error {
	if path == "" || strings.ContainsRune(path, 0) {
		return errors.New("must name a file; a pair has cert and key")
	}
	return nil
}

// checkEmail returns an error unless text is empty, or an address that needs no encoding in
// the mailto: URL that ACME requires.
func checkEmail(text string) error {
	name, domain, _ := strings.Cut(text, "@")
	if text != "" && (name == "" || domain == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("?&%,;:<>\"", r) })) {
		return fmt.Errorf("%s isn't an e-mail address", quote(text))
	}
	return nil
}

// checkDirectory returns an error unless text is an https URL, or an http URL on this
// machine. Over plain http an attacker on the network path could impersonate the CA.
func checkDirectory(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s isn't the URL of an ACME directory; write %s", quote(text), letsEncrypt)
	case u.Scheme == "http" && !(Origin{Host: u.Host}).IsLoopback():
		return fmt.Errorf("%s is plain http, so anybody on the way could impersonate the CA; write https", quote(text))
	}
	return nil
}
