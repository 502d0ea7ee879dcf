package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
)

type mailCommands struct {
	Test  mailTest          `cmd:"" help:"Send a test mail, and print the dialogue with the mail server without the password." example:"sallyport mail test ada@example.com"`
	Queue mailQueueCommands `cmd:"" help:"See and change what waits to be sent: mails, and requests to webhooks."`
}

type mailTest struct {
	Address string `arg:"" help:"The address to send the mail to."`
}

// Run sends one mail at once, without the queue. It doesn't open the portal.
func (c mailTest) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	mailer, err := server.Mailer(cfg)
	if err != nil {
		return err
	}
	if mailer == nil {
		return usageError{errors.New("mail.url isn't set, so no mails are sent; write there where mails go, such as smtps://user@mail.example.com:465, and run \"sallyport config default\" to see the other settings of mail")}
	}
	mailer.Trace = func(line string) { fmt.Fprintln(r.streams.Out, line) }
	renderer, err := server.MailRenderer(cfg)
	if err != nil {
		return err
	}
	english, err := locale.Load("en", cfg.SiteName)
	if err != nil {
		return err
	}
	now := time.Now()
	rendered, err := renderer.Test(english, now)
	if err != nil {
		return err
	}
	message := rendered.Message(secret.NewID(), c.Address, now.In(cfg.SiteTimeZone.Location()))
	if err := mailer.Send(r, message); err != nil {
		return fmt.Errorf("the mail wasn't sent: %w%s", err, mailAdvice(err))
	}
	if mailer.Dir != "" {
		_, err = fmt.Fprintf(r.streams.Out, "The mail was written into %s.\n", mailer.Dir)
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, "The mail server accepted the mail. If it doesn't arrive at %s, look among the unwanted mails there, and in the mail server's log.\n", c.Address)
	return err
}

// mailAdvice returns what to do about an error of [mail.Mailer.Send], as the end of a message.
func mailAdvice(err error) string {
	var failed *mail.Error
	if !errors.As(err, &failed) {
		return ""
	}
	switch failed.Class {
	case mail.Unanswered:
		return "\nThe server may have accepted the mail nevertheless."
	case mail.BadAddress:
		return "\nSend to another address."
	case mail.Rejected:
		return "\nThe server refuses this mail: look into its log, and check that it may send mails of mail.from."
	case mail.Setup:
		return "\nUntil this changes, no mail can be sent: check mail.url, mail.password_file, mail.ca and mail.from."
	default:
		return "\nCheck that the server runs, and that a firewall lets this machine connect to it. Mails of the portal are tried again."
	}
}
