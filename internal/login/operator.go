package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// What an operator does on the command line, and the one-time links that come
// of it. Each change ends what DESIGN's table says, in one transaction, so a
// running server sees it with its next statement.

// byOperator is an event that an operator caused.
func (s *Service) byOperator(accountID string, kind audit.Kind, detail string) audit.Event {
	return audit.Event{At: s.Clock(), AccountID: accountID, Actor: audit.ByOperator, Kind: kind, Detail: detail}
}

// AddAccount creates an account with a password. It returns the errors of
// account.Create and password.Check.
func (s *Service) AddAccount(ctx context.Context, a account.Account, typed string) (account.Account, error) {
	phc, err := s.hashNew(ctx, a, typed)
	if err != nil {
		return account.Account{}, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		if a, err = account.Create(ctx, tx, a, now); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, a.ID, phc, now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.AccountCreated, ""))
	})
	return a, err
}

// Invite returns the token of a link through which the person chooses a
// password. It creates the account unless there is one of that name that has
// no password yet: that is invited again, and the earlier link ends. One that has is
// account.ErrNameTaken.
func (s *Service) Invite(ctx context.Context, a account.Account) (token secret.Text, again bool, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		there, err := account.ByName(ctx, tx, a.Name)
		again = err == nil
		switch {
		case errors.Is(err, db.ErrNotFound):
			if there, err = account.Create(ctx, tx, a, now); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := account.Lock(ctx, tx, there.ID); err != nil {
				return err
			}
			if since, err := password.ChangedAt(ctx, tx, there.ID); err != nil {
				return err
			} else if !since.IsZero() {
				return account.ErrNameTaken
			}
		}
		if token, err = account.IssueTicket(ctx, tx, account.TicketInvitation, there.ID, now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(there.ID, audit.AccountInvited, ""))
	})
	return token, again, err
}

// SetPassword sets an account's password and ends all its sessions.
func (s *Service) SetPassword(ctx context.Context, a account.Account, typed string) error {
	// The operator may set what the account has already.
	if err := s.checkNew(a, typed); err != nil {
		return err
	}
	phc, err := s.hashNew(ctx, account.Account{}, typed)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.endOthers(ctx, tx, a.ID, "", ""); err != nil {
			return err
		}
		// An invitation would let whoever has it choose another one.
		if _, err := account.RevokeTickets(ctx, tx, account.TicketInvitation, a.ID); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, a.ID, phc, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.PasswordSet, ""))
	})
}

// SetEmail changes an account's e-mail address; empty removes it.
func (s *Service) SetEmail(ctx context.Context, a account.Account, email string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.SetEmail(ctx, tx, a.ID, email); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.EmailChanged, ""))
	})
}

// Disable keeps an account from signing in and ends all its sessions and links.
func (s *Service) Disable(ctx context.Context, a account.Account) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.endOthers(ctx, tx, a.ID, "", ""); err != nil {
			return err
		}
		for _, kind := range []account.TicketKind{account.TicketInvitation, account.TicketEnroll} {
			if _, err := account.RevokeTickets(ctx, tx, kind, a.ID); err != nil {
				return err
			}
		}
		if err := account.SetDisabled(ctx, tx, a.ID, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.AccountDisabled, ""))
	})
}

// Enable lets a disabled account sign in again.
func (s *Service) Enable(ctx context.Context, a account.Account) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.SetDisabled(ctx, tx, a.ID, time.Time{}); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.AccountEnabled, ""))
	})
}

// Remove deletes an account and all that belongs to it but its events.
func (s *Service) Remove(ctx context.Context, a account.Account) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Remove(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := throttle.RemoveAccount(ctx, tx, a.ID); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.AccountRemoved, a.Name))
	})
}

// ResetTwoFactor removes an account's authenticators and backup codes, ends
// all its sessions, and returns the token of the link through which alone the
// owner, after signing in, opens the wizard again (F15). A suspect password opens
// nothing afterwards: there the link sets a new one first. It works for life, from
// [account.MinLinkLife] to [account.MaxLinkLife]. The operator sees no secret.
func (s *Service) ResetTwoFactor(ctx context.Context, a account.Account, life time.Duration) (secret.Text, error) {
	var token secret.Text
	if life < account.MinLinkLife || life > account.MaxLinkLife {
		return token, account.ErrLinkLife
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.endOthers(ctx, tx, a.ID, "", ""); err != nil {
			return err
		}
		if err := authenticator.RemoveAll(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := backupcode.RemoveAll(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := account.SetTwoFactor(ctx, tx, a.ID, time.Time{}); err != nil {
			return err
		}
		if err := account.SetEnrollLocked(ctx, tx, a.ID, true); err != nil {
			return err
		}
		var err error
		if token, err = account.IssueTicketFor(ctx, tx, account.TicketEnroll, a.ID, life, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.TwoFactorReset, ""))
	})
	return token, err
}

// AddGroup creates a group. It returns the errors of account.AddGroup.
func (s *Service) AddGroup(ctx context.Context, group string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.AddGroup(ctx, tx, group, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator("", audit.GroupAdded, group))
	})
}

// RemoveGroup deletes a group, or returns [ErrGone] where there is none.
func (s *Service) RemoveGroup(ctx context.Context, group string) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.RemoveGroup(ctx, tx, group); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator("", audit.GroupRemoved, group))
	})
	if errors.Is(err, db.ErrNotFound) {
		return ErrGone
	}
	return err
}

// Join puts an account into a group, or returns [ErrGone] where there is none.
func (s *Service) Join(ctx context.Context, a account.Account, group string) error {
	return s.member(ctx, a, group, audit.GroupJoined, account.Join)
}

// Leave takes an account out of a group.
func (s *Service) Leave(ctx context.Context, a account.Account, group string) error {
	return s.member(ctx, a, group, audit.GroupLeft, account.Leave)
}

func (s *Service) member(ctx context.Context, a account.Account, group string, kind audit.Kind,
	change func(context.Context, *db.Tx, string, string) (bool, error)) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		changed, err := change(ctx, tx, group, a.ID)
		if err != nil || !changed {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, kind, group))
	})
	if errors.Is(err, db.ErrNotFound) {
		return ErrGone
	}
	return err
}

// SetupTicket returns the token of a link that creates the first account, and false
// where there is an account already. Earlier links work until then too.
func (s *Service) SetupTicket(ctx context.Context) (secret.Text, bool, error) {
	var token secret.Text
	some, err := account.AnyExist(ctx, s.DB.Reader())
	if err != nil || some {
		return token, false, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if token, err = account.IssueTicket(ctx, tx, account.TicketSetup, "", s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator("", audit.SetupLinkIssued, ""))
	})
	return token, err == nil, err
}

// Opened is a one-time link that somebody opened; nothing is consumed yet.
type Opened struct {
	Kind        account.TicketKind
	Account     account.Account // of an invitation or a reset
	NewPassword bool            // the link sets a password
}

// ErrSetupTicket is [account.ErrTicket] while there is no account: who opened the link is
// the administrator, who can make a new one.
var ErrSetupTicket = fmt.Errorf("%w, and there is no account yet", account.ErrTicket)

// Open returns what the link with this token is for, or account.ErrTicket.
func (s *Service) Open(ctx context.Context, token string) (Opened, error) {
	q := s.DB.Reader()
	ticket, err := account.TicketByToken(ctx, q, token, s.Clock())
	if errors.Is(err, account.ErrTicket) {
		some, unread := account.AnyExist(ctx, q)
		if unread == nil && !some {
			err = ErrSetupTicket
		}
		return Opened{}, errors.Join(err, unread)
	}
	if err != nil {
		return Opened{}, err
	}
	opened := Opened{Kind: ticket.Kind}
	if ticket.Kind == account.TicketSetup {
		opened.NewPassword = true
		if some, err := account.AnyExist(ctx, q); err != nil || some {
			return Opened{}, errors.Join(account.ErrTicket, err)
		}
		return opened, nil
	}
	if opened.Account, err = account.ByID(ctx, q, ticket.AccountID); err != nil {
		return Opened{}, err
	}
	switch ticket.Kind {
	case account.TicketInvitation:
		opened.NewPassword = true
	case account.TicketEnroll:
		suspect, err := password.SuspectSince(ctx, q, ticket.AccountID)
		if err != nil {
			return Opened{}, err
		}
		opened.NewPassword = !suspect.IsZero()
	}
	return opened, nil
}

// Setup uses the link: it creates the first account, an operator, or sets the
// password of an invited one, or the new password of one whose old one was suspect
// when an operator reset it. That last link goes on to open the wizard. It returns
// the device cookie's new value: the browser is known from now on. The person
// signs in afterwards like everybody else.
func (s *Service) Setup(ctx context.Context, token, name, email, typed string, from Browser) (secret.Text, error) {
	var deviceToken secret.Text
	opened, err := s.Open(ctx, token)
	if err != nil {
		return deviceToken, err
	}
	if !opened.NewPassword {
		return deviceToken, account.ErrTicket
	}
	if opened.Kind == account.TicketSetup {
		// Say what is wrong with the name before it takes the time of a hash.
		if _, err := account.CheckNewName(name); err != nil {
			return deviceToken, err
		}
	}
	owner := opened.Account
	if opened.Kind == account.TicketSetup {
		owner = account.Account{Name: name, Email: email, Role: account.Operator}
	}
	phc, err := s.hashNew(ctx, owner, typed)
	if err != nil {
		return deviceToken, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		ticket, err := account.TicketByToken(ctx, tx, token, now)
		if err != nil {
			return err
		}
		if ticket.AccountID != "" {
			if err := account.Lock(ctx, tx, ticket.AccountID); err != nil {
				return err
			}
		}
		if ticket.Kind == account.TicketEnroll {
			// Of many callers one succeeds; the link itself waits for the wizard.
			if there, err := password.ClearSuspect(ctx, tx, owner.ID); err != nil {
				return err
			} else if !there {
				return account.ErrTicket
			}
		} else if err := account.RedeemTicket(ctx, tx, ticket, now); err != nil {
			return err
		}
		kind := audit.PasswordChanged
		if ticket.Kind == account.TicketSetup {
			if some, err := account.AnyExist(ctx, tx); err != nil || some {
				return errors.Join(account.ErrTicket, err)
			}
			kind = audit.AccountCreated
			if owner, err = account.Create(ctx, tx, owner, now); err != nil {
				return err
			}
		} else if _, err := s.endOthers(ctx, tx, owner.ID, "", ""); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, owner.ID, phc, now); err != nil {
			return err
		}
		if deviceToken, err = device.Remember(ctx, tx, from.Device, owner.ID, from.device(), now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, from.event(now, owner.ID, kind))
	})
	return deviceToken, err
}
