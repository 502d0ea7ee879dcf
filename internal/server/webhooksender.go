package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/webhook"
)

// newSecret says how to make a secret for the webhook.
const newSecret = `write a line such as the output of: echo "whsec_$(openssl rand -base64 32)"`

// Webhook returns the client for the webhook, or nil if none is configured. It reads the webhook's
// secrets and the CA's certificates from their files.
func Webhook(cfg config.Config) (*webhook.Client, error) {
	c := cfg.Webhook
	if c.URL == (config.WebhookURL{}) {
		return nil, nil
	}
	client := &webhook.Client{URL: c.URL.URL()}
	for _, n := range c.Networks {
		client.Networks = append(client.Networks, netip.Prefix(n))
	}
	var faults config.Faults
	if addr, err := netip.ParseAddr(client.URL.Hostname()); err == nil {
		if err := webhook.CheckAddress(client.URL.Scheme, addr, client.Networks); err != nil {
			faults = append(faults, faultAt("webhook.url", "%v", err)...)
		}
	}
	for i, kind := range c.Events {
		if !slices.Contains(notice.Kinds(), notice.Kind(kind)) {
			faults = append(faults, faultAt(fmt.Sprintf("webhook.events[%d]", i), "%q isn't a type of event; write some of %s", kind, listOfKinds())...)
		}
	}
	if c.CA != "" {
		roots, err := readRoots(c.CA)
		if err != nil {
			faults = append(faults, faultAt("webhook.ca", "%v", err)...)
		}
		client.Roots = roots
	}
	text, err := readSecretFile(c.SecretFile, "the secret")
	if err == nil && len(text) > maxSecretFile {
		err = fmt.Errorf("%s isn't a file with secrets; %s", c.SecretFile, newSecret)
	}
	if err == nil {
		if client.Keys, err = webhook.ParseSecrets(text); err != nil {
			err = fmt.Errorf("%s: %w; %s", c.SecretFile, err, newSecret)
		}
	}
	if err != nil {
		faults = append(faults, faultAt("webhook.secret_file", "%v", err)...)
	}
	return client, joinFaults(faults)
}

// listOfKinds returns the kinds of notices, separated by commas.
func listOfKinds() string {
	var all []string
	for _, kind := range notice.Kinds() {
		all = append(all, string(kind))
	}
	return strings.Join(all, ", ")
}

// noticeRequests sends the notices that the outbox holds to the webhook.
type noticeRequests struct {
	db     *db.DB
	client *webhook.Client
	clock  func() time.Time
}

// webhookSender returns the sender of notices to the webhook, or nil if no webhook is configured.
// Its errors are those of [Webhook]. It returns a sender even with an error: commands send no
// notices, but need the sender to store them. The parameter clock is the reference clock.
func webhookSender(cfg config.Config, d *db.DB, clock func() time.Time) (*outbox.Sender, error) {
	client, err := Webhook(cfg)
	if client == nil {
		return nil, err
	}
	// A second more than the client's own limit, so that the error is the client's, which says
	// what took too long.
	s := &outbox.Sender{Send: noticeRequests{d, client, clock}.send, Timeout: webhook.Timeout + time.Second}
	if events := cfg.Webhook.Events; len(events) > 0 {
		s.Wants = func(topic string) bool { return slices.Contains(events, topic) }
	}
	return s, err
}

// send sends one message. The request has the event's id, by which receivers recognize repetitions.
func (s noticeRequests) send(ctx context.Context, m outbox.Message) error {
	n, err := notice.Decode(m.Body)
	if errors.Is(err, notice.ErrUnknown) {
		return outbox.Fail(outbox.Elsewhere, err)
	} else if err != nil {
		return outbox.Fail(outbox.Permanent, err)
	}
	owner, err := account.ByID(ctx, s.db.Reader(), n.Account)
	if err != nil && !errors.Is(err, db.ErrNotFound) { // an account that was removed has events too
		return err
	}
	status, err := s.client.Send(ctx, n.Event, s.clock(), webhook.Body(n, owner.Name))
	if err != nil {
		return err
	}
	return outbox.OfStatus(status)
}
