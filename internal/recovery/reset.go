package recovery

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/mail"
	"github.com/sallyport/sallyport/internal/ticket"
)

// AskReset requests a mail with a link to a new password, for the account with the typed name or
// address. Neither its result nor its time reveals whether the account exists. An account gets
// at most three such mails a day, and three more for each of its known browsers; [Service.Prepare]
// drops the rest. AskReset returns [ErrNoMail], or a [*login.WaitError] after too many requests from
// the browser's network.
func (s *Service) AskReset(ctx context.Context, typed string, from login.Browser) error {
	return s.ask(ctx, mail.Reset, typed, "", from)
}

// OpenReset returns the account whose password the link with this token sets. It only reads. It
// returns [ticket.ErrInvalid] if the link isn't valid.
func (s *Service) OpenReset(ctx context.Context, token string) (account.Account, error) {
	_, owner, _, err := s.open(ctx, s.Login.DB.Reader(), token, ticket.Reset)
	return owner, err
}

// open returns the link with this token, its account and its data. It returns [ticket.ErrInvalid] if
// the link isn't of the given kind or isn't valid. A link becomes invalid, among other things, when
// the account's credentials change.
func (s *Service) open(ctx context.Context, q db.Querier, token string, kind ticket.Kind) (ticket.Ticket, account.Account, linkData, error) {
	link, err := ticket.ByToken(ctx, q, token, s.Login.Clock())
	if err == nil && link.Kind != kind {
		err = ticket.ErrInvalid
	}
	if err != nil {
		return link, account.Account{}, linkData{}, err
	}
	owner, d, err := s.ownerOf(ctx, q, link)
	return link, owner, d, err
}

// ownerOf returns the account whose owner the link helps to sign in, and the link's data. It returns
// [ticket.ErrInvalid] if the account or its credentials have changed so that the link is void.
func (s *Service) ownerOf(ctx context.Context, q db.Querier, link ticket.Ticket) (account.Account, linkData, error) {
	owner, err := account.ByID(ctx, q, link.AccountID)
	if errors.Is(err, db.ErrNotFound) { // the account was removed after the link was read
		err = ticket.ErrInvalid
	}
	if err != nil {
		return owner, linkData{}, err
	}
	d, err := s.dataOf(link)
	if err != nil {
		return owner, d, err
	}
	if !owner.MayRecover() || d.Stamp != owner.Stamp || link.Kind == ticket.Reset && !owner.MailMayReplacePassword(s.Login.Clock()) {
		return owner, d, ticket.ErrInvalid
	}
	return owner, d, nil
}

// Reset redeems the link with this token: it sets the password that the owner typed, and ends
// everything that could still act for the account. It opens no session, and the browser doesn't
// become known. It returns [ticket.ErrInvalid] if the link isn't valid, [login.ErrSamePassword], or
// an error of password.Check.
func (s *Service) Reset(ctx context.Context, token, typed string, from login.Browser) error {
	owner, err := s.OpenReset(ctx, token)
	if err != nil {
		return err
	}
	phc, err := s.Login.HashNew(ctx, owner, typed)
	if err != nil {
		return err
	}
	return s.Login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, owner.ID); errors.Is(err, db.ErrNotFound) {
			return ticket.ErrInvalid
		} else if err != nil {
			return err
		}
		link, owner, _, err := s.open(ctx, tx, token, ticket.Reset)
		if err != nil {
			return err
		}
		now := s.Login.Clock()
		if err := ticket.Redeem(ctx, tx, link, now); err != nil {
			return err
		}
		if _, err := login.EndOthers(ctx, tx, owner.ID, login.Spared{}); err != nil {
			return err
		}
		if err := account.SetPasswordMailed(ctx, tx, owner.ID, now); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Login.Ring, owner.ID, phc, now); err != nil {
			return err
		}
		return s.Login.Journal.Record(ctx, tx, from.Event(now, owner.ID, audit.PasswordReset))
	})
}
