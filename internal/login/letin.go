package login

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// LetIn issues a let-in link and returns its token. The browser that opens the link becomes
// known for the account. It must still give password and code, and no budget is reset. Past
// the limit of changes it returns a [*WaitError].
func (s *Service) LetIn(ctx context.Context, me Me) (secret.Text, error) {
	var token secret.Text
	err := s.editAccountPaced(ctx, &me, audit.LetInIssued, func(tx *db.Tx) (err error) {
		token, err = letIn(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, audit.LetInIssued))
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
	token, err := ticket.Issue(ctx, tx, ticket.LetIn, event.AccountID, event.At)
	if err != nil {
		return secret.Text{}, err
	}
	return token, audit.Append(ctx, tx, event)
}

// RedeemLetIn redeems a let-in link and returns the device cookie's new value. It returns
// ticket.ErrInvalid if the link isn't valid.
func (s *Service) RedeemLetIn(ctx context.Context, token string, from Browser) (secret.Text, error) {
	var deviceToken secret.Text
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		link, err := ticket.ByToken(ctx, tx, token, now)
		if err != nil {
			return err
		}
		if link.Kind != ticket.LetIn {
			return ticket.ErrInvalid
		}
		// With the lock, a concurrent reset revokes the link or sees the known browser.
		if err := account.Lock(ctx, tx, link.AccountID); err != nil {
			return err
		}
		if err := ticket.Redeem(ctx, tx, link, now); err != nil {
			return err
		}
		if deviceToken, err = device.Remember(ctx, tx, from.Device, link.AccountID, from.AsDevice(), now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, from.Event(now, link.AccountID, audit.LetInUsed))
	})
	return deviceToken, err
}

// RemoveDevice makes one of the owner's known browsers unknown, or returns [ErrGone].
func (s *Service) RemoveDevice(ctx context.Context, me Me, id string) error {
	return s.editAccount(ctx, &me, func(tx *db.Tx) error {
		there, err := device.Remove(ctx, tx, me.Account.ID, id)
		if err != nil {
			return err
		}
		if !there {
			return ErrGone
		}
		return audit.Append(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, audit.DeviceForgotten))
	})
}

// RemoveDevices makes all of the owner's known browsers unknown, including the one in use,
// and revokes the account's let-in links.
func (s *Service) RemoveDevices(ctx context.Context, me Me) error {
	return s.editAccount(ctx, &me, func(tx *db.Tx) error {
		links, err := ticket.Revoke(ctx, tx, ticket.LetIn, me.Account.ID)
		if err != nil {
			return err
		}
		browsers, err := device.RemoveOthers(ctx, tx, me.Account.ID, "")
		if err != nil || browsers+links == 0 {
			return err
		}
		return audit.Append(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, audit.DevicesForgotten))
	})
}

// WrongCodes returns the number of wrong codes after a right password of which the account's
// owner must be notified, or 0.
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

// LeavePanel signs out the session of a panel's visit, which ends its visits to all panels.
// It returns nil if the visit has ended already.
func (s *Service) LeavePanel(ctx context.Context, panel *access.Panel, token string, from Browser) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		v, err := s.Entry.VisitByToken(ctx, tx, panel, token)
		if err != nil {
			return err
		}
		if err := account.Lock(ctx, tx, v.Owner.ID); err != nil {
			return err
		}
		return s.revokeTx(ctx, tx, Me{Session: v.Session, Account: v.Owner, From: from}, v.Session.ID, audit.SignedOut)
	})
	if errors.Is(err, ErrGone) || errors.Is(err, db.ErrNotFound) {
		return nil // it has ended already
	}
	return err
}
