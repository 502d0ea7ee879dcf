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
	"github.com/sallyport/sallyport/internal/ticket"
)

// The functions of this file change accounts for an operator on the command line, and
// redeem the one-time links that an operator issues. Each change ends whatever it makes
// invalid in the same transaction, so that a running server sees both with its next
// statement.

// byOperator returns an audit event with the operator as its actor.
func (s *Service) byOperator(accountID string, kind audit.Kind, detail string) audit.Event {
	return audit.Event{At: s.Clock(), AccountID: accountID, Actor: audit.ByOperator, Kind: kind, Detail: detail}
}

// AddAccount creates an account with a password. It returns the errors of
// account.Create and password.Check.
func (s *Service) AddAccount(ctx context.Context, a account.Account, typed string) (account.Account, error) {
	phc, err := s.HashNew(ctx, a, typed)
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

// Invite returns the token of a link with which the invited person chooses a password. It
// creates the account. If the account exists without a password, it is invited again and
// its earlier link ends; again reports that. If it has a password, Invite returns
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
		if token, err = ticket.Issue(ctx, tx, ticket.Invitation, there.ID, now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(there.ID, audit.AccountInvited, ""))
	})
	return token, again, err
}

// SetPassword sets an account's password and ends all its sessions. The current password is
// accepted too.
func (s *Service) SetPassword(ctx context.Context, a account.Account, typed string) error {
	if err := s.CheckNew(a, typed); err != nil {
		return err
	}
	phc, err := s.HashNew(ctx, account.Account{}, typed)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.EndOthers(ctx, tx, a.ID, "", ""); err != nil {
			return err
		}
		// The holder of an invitation could replace this password.
		if _, err := ticket.Revoke(ctx, tx, ticket.Invitation, a.ID); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, a.ID, phc, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.PasswordSet, ""))
	})
}

// SetEmail changes an account's e-mail address. An empty one removes it.
func (s *Service) SetEmail(ctx context.Context, a account.Account, email string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.SetEmail(ctx, tx, a.ID, email); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.EmailChanged, ""))
	})
}

// Disable blocks all sign-ins of an account and ends its sessions and links.
func (s *Service) Disable(ctx context.Context, a account.Account) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.EndOthers(ctx, tx, a.ID, "", ""); err != nil {
			return err
		}
		for _, kind := range []ticket.Kind{ticket.Invitation, ticket.Enroll} {
			if _, err := ticket.Revoke(ctx, tx, kind, a.ID); err != nil {
				return err
			}
		}
		if err := account.SetDisabled(ctx, tx, a.ID, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.AccountDisabled, ""))
	})
}

// Enable allows a disabled account to sign in again.
func (s *Service) Enable(ctx context.Context, a account.Account) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.SetDisabled(ctx, tx, a.ID, time.Time{}); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator(a.ID, audit.AccountEnabled, ""))
	})
}

// Remove removes an account with everything that belongs to it except its audit events.
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

// ResetTwoFactor removes an account's authenticators and backup codes and ends all its
// sessions. It returns the token of a link: after signing in, the owner can open the wizard
// only with it (F15). If the password is suspect, the owner can't sign in, and the link sets
// a new one first. The link is valid for life, from [ticket.MinLife] to
// [ticket.MaxLife]. The operator sees no secret of the account.
func (s *Service) ResetTwoFactor(ctx context.Context, a account.Account, life time.Duration) (secret.Text, error) {
	var token secret.Text
	if life < ticket.MinLife || life > ticket.MaxLife {
		return token, ticket.ErrLife
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.EndOthers(ctx, tx, a.ID, "", ""); err != nil {
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
		if token, err = ticket.IssueFor(ctx, tx, ticket.Enroll, a.ID, life, s.Clock()); err != nil {
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

// RemoveGroup removes a group, or returns [ErrGone] if it doesn't exist.
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

// Join adds an account to a group, or returns [ErrGone] if the group doesn't exist.
func (s *Service) Join(ctx context.Context, a account.Account, group string) error {
	return s.member(ctx, a, group, audit.GroupJoined, account.Join)
}

// Leave removes an account from a group.
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

// SetupTicket returns the token of a link that creates the first account. It returns false
// if an account exists. Earlier setup links stay valid until the first account is created.
func (s *Service) SetupTicket(ctx context.Context) (secret.Text, bool, error) {
	var token secret.Text
	some, err := account.AnyExist(ctx, s.DB.Reader())
	if err != nil || some {
		return token, false, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if token, err = ticket.Issue(ctx, tx, ticket.Setup, "", s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, s.byOperator("", audit.SetupLinkIssued, ""))
	})
	return token, err == nil, err
}

// Link describes a one-time link that a browser opened. Opening doesn't redeem it.
type Link struct {
	Kind        ticket.Kind
	Account     account.Account // zero for a setup link
	NewPassword bool            // redeeming the link sets a password
}

// ErrSetupTicket is [ticket.ErrInvalid] while no account exists. Then the user is the
// operator, who can make a new setup link.
var ErrSetupTicket = fmt.Errorf("%w, and there is no account yet", ticket.ErrInvalid)

// Open returns what the link with this token is for. It returns [ticket.ErrInvalid] or
// [ErrSetupTicket] if the link isn't valid.
func (s *Service) Open(ctx context.Context, token string) (Link, error) {
	q := s.DB.Reader()
	link, err := ticket.ByToken(ctx, q, token, s.Clock())
	if errors.Is(err, ticket.ErrInvalid) {
		some, unread := account.AnyExist(ctx, q)
		if unread == nil && !some {
			err = ErrSetupTicket
		}
		return Link{}, errors.Join(err, unread)
	}
	if err != nil {
		return Link{}, err
	}
	opened := Link{Kind: link.Kind}
	if link.Kind == ticket.Setup {
		opened.NewPassword = true
		if some, err := account.AnyExist(ctx, q); err != nil || some {
			return Link{}, errors.Join(ticket.ErrInvalid, err)
		}
		return opened, nil
	}
	if opened.Account, err = account.ByID(ctx, q, link.AccountID); err != nil {
		return Link{}, err
	}
	switch link.Kind {
	case ticket.Invitation:
		opened.NewPassword = true
	case ticket.Enroll:
		suspect, err := password.SuspectSince(ctx, q, link.AccountID)
		if err != nil {
			return Link{}, err
		}
		opened.NewPassword = !suspect.IsZero()
	}
	return opened, nil
}

// Setup redeems a link. A setup link creates the first account, an operator. An invitation
// sets the invited account's password. The link of a reset replaces a suspect password, and
// stays valid for the wizard. Setup returns the device cookie's new value, since the browser
// is known from now on. The user still has to sign in afterwards.
func (s *Service) Setup(ctx context.Context, token, name, email, typed string, from Browser) (secret.Text, error) {
	var deviceToken secret.Text
	opened, err := s.Open(ctx, token)
	if err != nil {
		return deviceToken, err
	}
	if !opened.NewPassword {
		return deviceToken, ticket.ErrInvalid
	}
	if opened.Kind == ticket.Setup {
		// Check the name before the slow hash, for a quick answer.
		if _, err := account.CheckNewName(name); err != nil {
			return deviceToken, err
		}
	}
	owner := opened.Account
	if opened.Kind == ticket.Setup {
		owner = account.Account{Name: name, Email: email, Role: account.Operator}
	}
	phc, err := s.HashNew(ctx, owner, typed)
	if err != nil {
		return deviceToken, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock()
		link, err := ticket.ByToken(ctx, tx, token, now)
		if err != nil {
			return err
		}
		if link.AccountID != "" {
			if err := account.Lock(ctx, tx, link.AccountID); err != nil {
				return err
			}
		}
		if link.Kind == ticket.Enroll {
			// Of several concurrent callers one succeeds. The link is redeemed by the wizard.
			if there, err := password.ClearSuspect(ctx, tx, owner.ID); err != nil {
				return err
			} else if !there {
				return ticket.ErrInvalid
			}
		} else if err := ticket.Redeem(ctx, tx, link, now); err != nil {
			return err
		}
		kind := audit.PasswordChanged
		if link.Kind == ticket.Setup {
			if some, err := account.AnyExist(ctx, tx); err != nil || some {
				return errors.Join(ticket.ErrInvalid, err)
			}
			kind = audit.AccountCreated
			if owner, err = account.Create(ctx, tx, owner, now); err != nil {
				return err
			}
		} else if _, err := s.EndOthers(ctx, tx, owner.ID, "", ""); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, s.Ring, owner.ID, phc, now); err != nil {
			return err
		}
		if deviceToken, err = device.Remember(ctx, tx, from.Device, owner.ID, from.AsDevice(), now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, from.Event(now, owner.ID, kind))
	})
	return deviceToken, err
}
