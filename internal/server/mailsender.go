package server

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/recovery"
)

// mailTime limits the sending of one mail. Some mail servers examine a mail before they accept it.
const mailTime = time.Minute

// mails sends the mails that the outbox holds: notices and links.
type mails struct {
	db     *db.DB
	links  *recovery.Service
	mailer *mail.Mailer
	writer *mail.Renderer
	words  *locale.Catalogue
	zone   *time.Location
}

// mailSender returns the sender of mails, or nil if no mail is configured. If mail.notices is off,
// no notices are stored for the sender. An error means that mail is configured but can't be sent. The sender
// is valid even then: commands don't send mails, but need a sender to store them.
func mailSender(cfg config.Config, d *db.DB, links *recovery.Service) (*outbox.Sender, error) {
	if cfg.Mail.URL == (config.MailServer{}) {
		return nil, nil
	}
	s := mails{db: d, links: links, zone: cfg.SiteTimeZone.Location()}
	var failed [3]error
	s.mailer, failed[0] = Mailer(cfg)
	s.writer, failed[1] = MailRenderer(cfg)
	s.words, failed[2] = locale.Load("en", cfg.SiteName)
	wants := func(topic string) bool { return cfg.Mail.Notices || recovery.IsLink(topic) }
	return &outbox.Sender{Send: s.send, Timeout: mailTime, Wants: wants, Limits: notice.Limits, Rate: notice.SiteRate()}, errors.Join(failed[:]...)
}

// send sends one message.
func (s mails) send(ctx context.Context, m outbox.Message) error {
	if recovery.IsLink(m.Topic) {
		return s.sendLink(ctx, m)
	}
	return s.sendNotice(ctx, m)
}

// sendLink sends a mail with a link, if the mail is still to be sent.
func (s mails) sendLink(ctx context.Context, m outbox.Message) error {
	letter, err := s.links.Prepare(ctx, m)
	if errors.Is(err, recovery.ErrMoot) {
		return outbox.Fail(outbox.Needless, err)
	} else if err != nil {
		return err
	}
	text, err := s.writer.Link(s.words, letter.Link, letter.Owner.Name)
	if err != nil {
		return outbox.Fail(outbox.Permanent, err)
	}
	return s.deliver(ctx, m, letter.To, text)
}

// sendNotice sends a notice to its address, or to the account's current address.
func (s mails) sendNotice(ctx context.Context, m outbox.Message) error {
	n, err := notice.Decode(m.Body)
	if errors.Is(err, notice.ErrUnknown) {
		return outbox.Fail(outbox.Elsewhere, err)
	} else if err != nil {
		return outbox.Fail(outbox.Permanent, err)
	}
	n.More = m.More
	owner, err := account.ByID(ctx, s.db.Reader(), n.Account)
	switch {
	case errors.Is(err, db.ErrNotFound) && n.Kind == notice.AccountRemoved:
		owner = account.Account{Name: n.Name}
	case errors.Is(err, db.ErrNotFound):
		return outbox.Fail(outbox.Needless, errors.New("the account was removed"))
	case err != nil:
		return err
	}
	to, err := outbox.AddressOf(ctx, s.db.Reader(), m.ID) // the address may have changed since the claim
	if errors.Is(err, db.ErrNotFound) {
		return outbox.Fail(outbox.Needless, errors.New("it was deleted while it was being sent"))
	} else if err != nil {
		return err
	}
	if to == "" {
		to = owner.Email
	}
	switch {
	case to == "":
		return outbox.Fail(outbox.Needless, errors.New("the account has no email address"))
	case to == owner.Email && !owner.EmailRefusedAt.IsZero() && !n.Kind.IsDefence():
		return outbox.Fail(outbox.Needless, errors.New("the mail server refuses the account's email address"))
	}
	text, err := s.writer.Notice(s.words, n, owner.Name)
	if err != nil {
		return outbox.Fail(outbox.Permanent, err)
	}
	return s.deliver(ctx, m, to, text)
}

// classes maps the class of a mail's error to the class of the message's failure.
var classes = map[mail.Class]outbox.Class{
	mail.Temporary:  outbox.Temporary,
	mail.Unanswered: outbox.Unsure,
	mail.BadAddress: outbox.Permanent,
	mail.Rejected:   outbox.Permanent,
	mail.Setup:      outbox.Paused,
}

// deliver sends a mail. Its error has a class of the outbox. If the mail server refuses the address,
// deliver marks the address before the outbox gives the message up, so that a failure in between
// doesn't lose the mark.
func (s mails) deliver(ctx context.Context, m outbox.Message, to string, text mail.Rendered) error {
	err := s.mailer.Send(ctx, text.Message(m.ID, to, m.CreatedAt.In(s.zone)))
	var failed *mail.Error
	if !errors.As(err, &failed) {
		return err
	}
	if failed.Class == mail.BadAddress {
		if err := s.links.AddressRefused(ctx, m.AccountID, to); err != nil {
			return err
		}
	}
	return outbox.Fail(classes[failed.Class], failed)
}
