package manage

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Accounts changes accounts themselves: it creates, invites, disables and removes them.
type Accounts struct{ *base }

// SetDisplayName changes the owner's display name. It returns a [*login.WaitError] after too many
// changes.
func (m Accounts) SetDisplayName(ctx context.Context, me login.Me, name string) error {
	name, err := account.NormalizeDisplayName(name)
	if err != nil || name == me.Account.DisplayName {
		return err
	}
	return m.editPaced(ctx, me, audit.ProfileChanged, func(tx *db.Tx, me login.Me) error {
		if err := account.SetDisplayName(ctx, tx, me.Account.ID, name); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, me.From.Event(m.login.Clock(), me.Account.ID, audit.ProfileChanged))
	})
}

// Add creates an account with a password. It returns the errors of
// account.Create and password.Check.
func (m Accounts) Add(ctx context.Context, by Actor, a account.Account, typed string) (account.Account, error) {
	phc, err := m.login.HashNew(ctx, a, typed)
	if err != nil {
		return account.Account{}, err
	}
	err = m.login.DB.Write(ctx, func(tx *db.Tx) error {
		now := m.login.Clock()
		if a, err = account.Create(ctx, tx, a, now); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, m.login.Ring, a.ID, phc, now); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, a.ID, audit.AccountCreated, ""))
	})
	return a, err
}

// Invite creates the account and returns the token of a link with which the invited person chooses
// a password. If the account exists without a password, Invite ends its earlier link, and the
// result again is true. If the account has a password, Invite returns account.ErrNameTaken.
func (m Accounts) Invite(ctx context.Context, by Actor, a account.Account) (token secret.Text, again bool, err error) {
	how := delivery{}
	again, err = m.invite(ctx, by, a, &how)
	return how.token, again, err
}

// ErrOtherEmail means that the account to invite again has an address other than the given one.
var ErrOtherEmail = errors.New("the account exists and has another email address, or none")

// InviteByMail is [Accounts.Invite], but the link is mailed to the account's address, which it
// returns. It also returns [ErrOtherEmail], and the errors of [account.Account.CheckInvitable].
func (m Accounts) InviteByMail(ctx context.Context, by Actor, a account.Account) (to string, again bool, err error) {
	how := delivery{byMail: true}
	again, err = m.invite(ctx, by, a, &how)
	return how.to, again, err
}

func (m Accounts) invite(ctx context.Context, by Actor, a account.Account, how *delivery) (again bool, err error) {
	err = m.login.DB.Write(ctx, func(tx *db.Tx) error {
		there, err := account.ByName(ctx, tx, a.Name)
		if err == nil {
			there, err = account.LockAndRead(ctx, tx, there.ID)
		}
		again = err == nil
		switch {
		case errors.Is(err, db.ErrNotFound): // it never existed, or was removed before the lock
			if there, err = account.Create(ctx, tx, a, m.login.Clock()); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if since, err := password.ChangedAt(ctx, tx, there.ID); err != nil {
				return err
			} else if !since.IsZero() {
				return account.ErrNameTaken
			}
			if how.byMail && a.Email != "" && !there.IsNamed(a.Email) {
				return ErrOtherEmail
			}
		}
		return m.deliver(ctx, tx, by, audit.AccountInvited, there, ticket.Invitation, ticket.Invitation.Life(), how)
	})
	return again, err
}

// SetEmail changes an account's e-mail address. An empty one removes it.
func (m Accounts) SetEmail(ctx context.Context, by Actor, a account.Account, email string) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, a.ID); err != nil {
			return err
		}
		before, err := account.ByID(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		if before.Email == email {
			return nil // a notice would wrongly say that the address was changed
		}
		if err := account.SetEmail(ctx, tx, a.ID, email); err != nil {
			return err
		}
		if err := login.EndMailedLinks(ctx, tx, a.ID); err != nil {
			return err
		}
		// A thief who had the account for longer than an undo link works may have such a link too.
		if _, err := ticket.Revoke(ctx, tx, ticket.UndoEmail, a.ID); err != nil {
			return err
		}
		return m.login.Journal.RecordWith(ctx, tx, m.event(by, a.ID, audit.EmailChanged, ""), notice.Facts{FormerEmail: before.Email})
	})
}

// Disable blocks all sign-ins of an account and ends its sessions and links.
func (m Accounts) Disable(ctx context.Context, by Actor, a account.Account) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := m.permit(ctx, tx, by, access.Disable, a.ID); err != nil {
			return err
		}
		if _, err := login.EndOthers(ctx, tx, a.ID, login.Spared{}); err != nil {
			return err
		}
		for _, kind := range []ticket.Kind{ticket.Invitation, ticket.Enroll} {
			if _, err := ticket.Revoke(ctx, tx, kind, a.ID); err != nil {
				return err
			}
		}
		if err := account.SetDisabled(ctx, tx, a.ID, m.login.Clock()); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, a.ID, audit.AccountDisabled, ""))
	})
}

// Enable allows a disabled account to sign in again.
func (m Accounts) Enable(ctx context.Context, by Actor, a account.Account) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := m.permit(ctx, tx, by, access.Enable, a.ID); err != nil {
			return err
		}
		if err := account.SetDisabled(ctx, tx, a.ID, time.Time{}); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, a.ID, audit.AccountEnabled, ""))
	})
}

// ErrEmailMeanwhile means that the account's address changed while an operator confirmed the
// earlier one.
var ErrEmailMeanwhile = errors.New("the email address has just changed, so nothing was confirmed")

// VerifyEmail records that an operator confirms that the address a.Email is the owner's. It returns
// [account.ErrEmailInvalid] if the account has no address, and [ErrEmailMeanwhile] if the account
// has another address by now.
func (m Accounts) VerifyEmail(ctx context.Context, by Actor, a account.Account) error {
	word := a.Email
	return m.editAs(ctx, by, access.None, a.ID, func(tx *db.Tx, by Actor, a account.Account) error {
		switch a.Email {
		case "":
			return account.ErrEmailInvalid
		case word:
		default:
			return ErrEmailMeanwhile
		}
		event := m.event(by, a.ID, audit.EmailVerified, "")
		if err := account.SetEmailVerified(ctx, tx, a.ID, event.At); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, event)
	})
}

// SetRole gives an account another role. If a node runs a version that can't read that role, SetRole
// returns an error that wraps [cluster.ErrNotYet] and has no effect.
func (m Accounts) SetRole(ctx context.Context, by Actor, a account.Account, role account.Role) error {
	return m.editAs(ctx, by, access.SetRole, a.ID, func(tx *db.Tx, by Actor, a account.Account) error {
		if a.Role == role {
			return nil
		}
		if err := account.SetRole(ctx, tx, a.ID, role); err != nil {
			return err
		}
		if err := m.login.Journal.Record(ctx, tx, m.event(by, a.ID, audit.RoleChanged, role.Name())); err != nil {
			return err
		}
		if role.IsNew() {
			return cluster.Use(ctx, tx, cluster.Roles)
		}
		return nil
	})
}

// Remove removes an account with everything that belongs to it except its audit events.
func (m Accounts) Remove(ctx context.Context, by Actor, a account.Account) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := m.permit(ctx, tx, by, access.Remove, a.ID); err != nil {
			return err
		}
		a, err := account.LockAndRead(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		if err := account.Remove(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := throttle.RemoveAccount(ctx, tx, a.ID); err != nil {
			return err
		}
		if err := outbox.RemoveAccount(ctx, tx, a.ID); err != nil {
			return err
		}
		facts := notice.Facts{FormerEmail: a.Email, FormerTold: true} // the one mail to the address tells it
		return m.login.Journal.RecordWith(ctx, tx, m.event(by, a.ID, audit.AccountRemoved, a.Name), facts)
	})
}
