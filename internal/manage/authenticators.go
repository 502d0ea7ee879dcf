package manage

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Authenticators changes an account's second authenticators and backup codes, and carries out the
// steps of the enrolment wizard.
type Authenticators struct{ *base }

// Rename changes the name of one of the owner's authenticators. It returns a [*login.WaitError]
// after too many changes.
func (m Authenticators) Rename(ctx context.Context, me login.Me, id, name string) error {
	name, err := authenticator.NormalizeName(name)
	if err != nil {
		return err
	}
	if one, err := authenticator.ByID(ctx, m.login.DB.Reader(), me.Account.ID, id); err == nil && one.Name == name {
		return nil
	}
	return m.editPaced(ctx, me, audit.AuthenticatorRenamed, func(tx *db.Tx, me login.Me) error {
		if err := authenticator.Rename(ctx, tx, me.Account.ID, id, name); err != nil {
			return err
		}
		event := me.From.Event(m.login.Clock(), me.Account.ID, audit.AuthenticatorRenamed)
		event.Detail, event.AuthenticatorID = name, id
		return m.login.Journal.Record(ctx, tx, event)
	})
}

// Remove removes one of the owner's authenticators and returns the session's new token. Removing
// the last one removes the backup codes too (R10). It returns [ErrRequired] if the account's policy
// requires one, and [ErrSuspect] while the password is suspect.
func (m Authenticators) Remove(ctx context.Context, me login.Me, id string) (secret.Text, error) {
	return m.editCredentials(ctx, me, func(tx *db.Tx, me login.Me) (kept, error) {
		name, err := authenticator.NameOf(ctx, tx, me.Account.ID, id)
		if err != nil {
			return kept{}, err
		}
		if err := authenticator.Remove(ctx, tx, me.Account.ID, id); err != nil {
			return kept{}, err
		}
		left, err := authenticator.Count(ctx, tx, me.Account.ID)
		if err != nil {
			return kept{}, err
		}
		event := me.From.Event(m.login.Clock(), me.Account.ID, audit.AuthenticatorRemoved)
		event.Detail, event.AuthenticatorID = name, id
		if err := m.login.Journal.Record(ctx, tx, event); err != nil {
			return kept{}, err
		}
		if left == 0 {
			return m.endTwoFactor(ctx, tx, me)
		}
		proofs := authenticator.Without(me.Session.Proofs, func(p authenticator.Proof) bool { return p.ID == id })
		return kept{proofs: proofs, device: me.From.Device}, nil
	})
}

// DisableTwoFactor removes all of the owner's authenticators and backup codes, and returns
// the session's new token. It returns [ErrRequired] if the account's policy requires one, and
// [ErrSuspect] while the password is suspect.
func (m Authenticators) DisableTwoFactor(ctx context.Context, me login.Me) (secret.Text, error) {
	return m.editCredentials(ctx, me, func(tx *db.Tx, me login.Me) (kept, error) {
		left, err := authenticator.Count(ctx, tx, me.Account.ID)
		if err != nil {
			return kept{}, err
		}
		if left == 0 {
			return kept{}, login.ErrGone
		}
		if err := authenticator.RemoveAll(ctx, tx, me.Account.ID); err != nil {
			return kept{}, err
		}
		return m.endTwoFactor(ctx, tx, me)
	})
}

// endTwoFactor removes what can't exist without an authenticator, and returns what outlives the
// change.
func (m Authenticators) endTwoFactor(ctx context.Context, tx *db.Tx, me login.Me) (kept, error) {
	if p, err := m.entry.PolicyOf(ctx, tx, me.Account.ID); err != nil {
		return kept{}, err
	} else if m.entry.Requires(p) {
		return kept{}, ErrRequired
	}
	// A suspect password without a second factor can't sign in at all, and only an operator
	// could help. So the owner must change the password first.
	if suspect, err := password.SuspectSince(ctx, tx, me.Account.ID); err != nil {
		return kept{}, err
	} else if !suspect.IsZero() {
		return kept{}, ErrSuspect
	}
	if err := backupcode.RemoveAll(ctx, tx, me.Account.ID); err != nil {
		return kept{}, err
	}
	if err := account.SetTwoFactor(ctx, tx, me.Account.ID, time.Time{}); err != nil {
		return kept{}, err
	}
	left := authenticator.Without(me.Session.Proofs, func(p authenticator.Proof) bool { return p.Kind != authenticator.Password })
	return kept{proofs: left, device: me.From.Device}, m.login.Journal.Record(ctx, tx, me.From.Event(m.login.Clock(), me.Account.ID, audit.TwoFactorDisabled))
}

// ResetTwoFactor removes an account's authenticators and backup codes and ends all its sessions.
// It returns the token of a link, without which the owner can't open the wizard after signing in
// (F15). If the password is suspect, the owner can't sign in, so the link first sets a new password.
// The parameter life is how long the link is valid; if it is outside the limits of package ticket,
// ResetTwoFactor returns [ticket.ErrLife]. The operator sees no secret of the account.
func (m Authenticators) ResetTwoFactor(ctx context.Context, by Actor, a account.Account, life time.Duration) (secret.Text, error) {
	how := delivery{}
	err := m.resetTwoFactor(ctx, by, a, life, &how)
	return how.token, err
}

// ResetTwoFactorByMail is [Authenticators.ResetTwoFactor], but the link is mailed to the account's
// address, which it returns. Such a link sets no password. If the link must not be mailed, nothing
// is changed, and the error is one of [account.Account.CheckMailable] or of package recovery.
func (m Authenticators) ResetTwoFactorByMail(ctx context.Context, by Actor, a account.Account) (to string, err error) {
	how := delivery{byMail: true}
	err = m.resetTwoFactor(ctx, by, a, 0, &how)
	return how.to, err
}

func (m Authenticators) resetTwoFactor(ctx context.Context, by Actor, a account.Account, life time.Duration, how *delivery) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := m.permit(ctx, tx, by, access.ResetTwoFactor, a.ID); err != nil {
			return err
		}
		if _, err := login.EndOthers(ctx, tx, a.ID, login.Spared{}); err != nil {
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
		now, err := account.ByID(ctx, tx, a.ID) // the account's address may have changed since a was read
		if err != nil {
			return err
		}
		return m.deliver(ctx, tx, by, audit.TwoFactorReset, now, ticket.Enroll, life, how)
	})
}
