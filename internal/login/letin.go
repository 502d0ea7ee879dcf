package login

import (
	"context"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
)

// LetIn returns the token of a link that makes the browser that opens it known
// for my account. Password and code are still asked there, and no bucket is
// emptied. Past the pace of changes it returns a [*WaitError].
func (s *Service) LetIn(ctx context.Context, me Me) (secret.Text, error) {
	var token secret.Text
	err := s.changing(ctx, &me, audit.LetInIssued, func(tx *db.Tx) (err error) {
		token, err = letIn(ctx, tx, me.From.event(s.Clock(), me.Account.ID, audit.LetInIssued))
		return err
	})
	return token, err
}

// Unlock is [Service.LetIn] for an operator on the command line.
func (s *Service) Unlock(ctx context.Context, a account.Account) (secret.Text, error) {
	var token secret.Text
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if err := account.Lock(ctx, tx, a.ID); err != nil {
			return err
		}
		token, err = letIn(ctx, tx, s.byOperator(a.ID, audit.LetInIssued, ""))
		return err
	})
	return token, err
}

func letIn(ctx context.Context, tx *db.Tx, event audit.Event) (secret.Text, error) {
	token, err := account.IssueTicket(ctx, tx, account.TicketLetIn, event.AccountID, event.At)
	if err != nil {
		return secret.Text{}, err
	}
	return token, audit.Append(ctx, tx, event)
}

// UseLetIn uses the link and returns the device cookie's new value, or
// account.ErrTicket.
func (s *Service) UseLetIn(ctx context.Context, token string, from Browser) (secret.Text, error) {
	var deviceToken secret.Text
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		ticket, err := account.TicketByToken(ctx, tx, token, now)
		if err != nil {
			return err
		}
		if ticket.Kind != account.TicketLetIn {
			return account.ErrTicket
		}
		// A reset that runs meanwhile ends the link, or finds the browser known.
		if err := account.Lock(ctx, tx, ticket.AccountID); err != nil {
			return err
		}
		if err := account.RedeemTicket(ctx, tx, ticket, now); err != nil {
			return err
		}
		if deviceToken, err = device.Remember(ctx, tx, from.Device, ticket.AccountID, from.device(), now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, from.event(now, ticket.AccountID, audit.LetInUsed))
	})
	return deviceToken, err
}

// ForgetDevice makes one of my known browsers unknown, or returns [ErrGone].
func (s *Service) ForgetDevice(ctx context.Context, me Me, id string) error {
	return s.holding(ctx, &me, func(tx *db.Tx) error {
		there, err := device.Remove(ctx, tx, me.Account.ID, id)
		if err != nil {
			return err
		}
		if !there {
			return ErrGone
		}
		return audit.Append(ctx, tx, me.From.event(s.Clock(), me.Account.ID, audit.DeviceForgotten))
	})
}

// ForgetDevices makes all my known browsers unknown, this one too, and ends the
// links that make browsers known.
func (s *Service) ForgetDevices(ctx context.Context, me Me) error {
	return s.holding(ctx, &me, func(tx *db.Tx) error {
		links, err := account.RevokeTickets(ctx, tx, account.TicketLetIn, me.Account.ID)
		if err != nil {
			return err
		}
		browsers, err := device.RemoveOthers(ctx, tx, me.Account.ID, "")
		if err != nil || browsers+links == 0 {
			return err
		}
		return audit.Append(ctx, tx, me.From.event(s.Clock(), me.Account.ID, audit.DevicesForgotten))
	})
}

// WrongCodes returns how many wrong codes of others after my right password
// the account should be told of; 0: none.
func (s *Service) WrongCodes(ctx context.Context, owner account.Account) (int, error) {
	changed, err := password.ChangedAt(ctx, s.DB.Reader(), owner.ID)
	if err != nil {
		return 0, err
	}
	suspicion, err := s.Ledger.Suspect(ctx, s.DB.Reader(), owner.ID, changed)
	if err != nil || !suspicion.Notice {
		return 0, err
	}
	return suspicion.Codes, nil
}
