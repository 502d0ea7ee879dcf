package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/webhook"
)

type webhookCommands struct {
	Test webhookTest `cmd:"" help:"Send a signed test request to the webhook, and print it with the answer." example:"sallyport webhook test"`
}

type webhookTest struct{}

// Run sends one request at once, past the queue. It doesn't open the portal.
func (c webhookTest) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	client, err := server.Webhook(cfg)
	if err != nil {
		return err
	}
	if client == nil {
		return usageError{errors.New("webhook.url isn't set, so no events are sent; write there where they go, such as https://hooks.example.com/sallyport, and run \"sallyport config default\" to see the other settings of webhook")}
	}
	client.Trace = func(line string) { fmt.Fprintln(r.streams.Out, line) }
	for range client.Keys {
		client.Trace("* Signed with whsec_********")
	}
	now := time.Now()
	id := secret.NewTimedID(now)
	status, err := client.Send(r, id, now, webhook.TestBody(id, now))
	if err != nil {
		return fmt.Errorf("there is no answer from the receiver: %w", err)
	}
	if err := outbox.OfStatus(status); err != nil {
		return fmt.Errorf("the request was sent, but %w%s", err, webhookAdvice(status))
	}
	_, err = fmt.Fprintln(r.streams.Out, "The receiver accepted the request.")
	return err
}

// webhookAdvice returns what to do about the status of an answer, as the end of a message.
func webhookAdvice(status int) string {
	switch {
	case status/100 == 3:
		return "\nThat is a redirect, which is never followed: write the address that it names into webhook.url."
	case status == 401 || status == 403 || status == 400:
		return "\nCompare the secret in webhook.secret_file with that of the receiver, and the clocks of both machines."
	case status == 404 || status == 410:
		return "\nCorrect the path in webhook.url."
	}
	return "\nLook into the receiver's log. Requests of the portal are tried again."
}
