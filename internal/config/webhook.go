package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// WebhookURL is where events are sent. Its zero value means that they aren't sent.
type WebhookURL struct {
	Origin Origin
	Rest   string // path and query as written; empty or begins with "/" or "?". It may hold a token.
}

const webhookExample = "write it like https://hooks.example.com/sallyport"

// UnmarshalText accepts an http or https URL with any path and query, or empty text. Errors
// don't repeat path and query.
func (w *WebhookURL) UnmarshalText(text []byte) error {
	*w = WebhookURL{}
	if len(text) == 0 {
		return nil
	}
	u, err := url.Parse(string(text))
	switch {
	case err != nil && strings.Contains(string(text), "@"), err == nil && u.User != nil:
		return errors.New("must not contain a user name or password: requests are signed with the secret in webhook.secret_file; " + webhookExample)
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return errors.New("isn't the URL of a receiver; " + webhookExample)
	case strings.Contains(string(text), "#"):
		return errors.New("has a fragment, which is never sent; leave out what begins with #")
	case strings.ContainsFunc(string(text), func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("has characters that no URL has; percent-encode them")
	}
	origin, err := ParseOrigin(u.Scheme + "://" + u.Host)
	if err != nil {
		return err
	}
	*w = WebhookURL{Origin: origin, Rest: strings.TrimPrefix(u.RequestURI(), "/")}
	if w.Rest != "" && !strings.HasPrefix(w.Rest, "?") {
		w.Rest = "/" + w.Rest
	}
	return nil
}

// URL returns the URL, or nil if it isn't set.
func (w WebhookURL) URL() *url.URL {
	if w.Origin == (Origin{}) {
		return nil
	}
	u, err := url.Parse(w.Origin.String() + w.Rest)
	if err != nil {
		return nil // UnmarshalText accepts no such URL
	}
	return u
}

// String returns the URL with [redacted] in place of path and query, which may hold a token.
func (w WebhookURL) String() string {
	if w.Rest == "" {
		return w.Origin.String()
	}
	return w.Origin.String() + "/" + redacted
}

// MarshalText returns w.String().
func (w WebhookURL) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// Network is a network in which the receiver of a webhook may be.
type Network netip.Prefix

// Least prefix lengths of a [Network]: those of the largest private networks, 10.0.0.0/8 and
// fc00::/7. A shorter prefix could only be meant to turn the check of addresses off.
const (
	leastNetwork4 = 8
	leastNetwork6 = 7
)

// UnmarshalText accepts an address or prefix in the form of [Config.TrustedProxies].
func (n *Network) UnmarshalText(text []byte) error {
	prefix, err := netip.ParsePrefix(string(text))
	least := leastNetwork6
	if prefix.Addr().Is4() {
		least = leastNetwork4
	}
	if err == nil && prefix.Bits() < least {
		return fmt.Errorf("%s is larger than any private network; name only the network of the receiver", quote(string(text)))
	}
	if prefix, err = parsePrefix(string(text)); err != nil {
		return err
	}
	*n = Network(prefix)
	return nil
}

// MarshalText returns the prefix.
func (n Network) MarshalText() ([]byte, error) { return netip.Prefix(n).MarshalText() }

// checkWebhook adds the faults of the settings of the webhook.
func checkWebhook(c Config, fault func(err error, keys ...string)) {
	w := c.Webhook
	if w.URL == (WebhookURL{}) {
		none := errors.New("has no effect until webhook.url is set: write there where events go, such as https://hooks.example.com/sallyport")
		for key, set := range map[string]bool{"webhook.secret_file": w.SecretFile != "", "webhook.ca": w.CA != "", "webhook.events": len(w.Events) > 0, "webhook.networks": len(w.Networks) > 0} {
			if set {
				fault(none, key, "webhook.url")
			}
		}
		return
	}
	if w.SecretFile == "" {
		fault(errors.New(`needs webhook.secret_file, the file with the secret that signs requests; make one with: (umask 077; echo "whsec_$(openssl rand -base64 32)" > webhook-secret)`), "webhook.url", "webhook.secret_file")
	}
	if w.CA != "" && w.URL.Origin.Scheme == "http" {
		fault(fmt.Errorf("has no effect, since requests to %s are sent without TLS; delete it, or write https://", w.URL), "webhook.ca", "webhook.url")
	}
	for i, kind := range w.Events {
		if slices.Contains(w.Events[:i], kind) {
			fault(fmt.Errorf("has %s twice; delete one", quote(kind)), "webhook.events")
		}
	}
	if addr, err := netip.ParseAddr(w.URL.Origin.Hostname()); err != nil && w.URL.Origin.Scheme == "http" && len(w.Networks) == 0 {
		fault(errors.New("begins with http://, and requests without TLS go only to networks that webhook.networks names; write https://, or name the receiver's network there, such as networks: [127.0.0.1]"), "webhook.url", "webhook.networks")
	} else if err == nil && addr.IsMulticast() {
		fault(errors.New("has the address of a group of machines; "+webhookExample), "webhook.url")
	}
}
