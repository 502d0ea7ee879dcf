package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// NeedsTicket reports whether the account can enrol its next authenticator only through an
// operator's link: after a reset (F15), or because Options.EnrollByTicket is set.
func (m Authenticators) NeedsTicket(owner account.Account, twoFactor bool) bool {
	return owner.EnrollLocked || m.enrollByTicket && !twoFactor
}

// enrollTicket returns the valid ticket with which the account may open the wizard, or
// [ErrLocked].
func (m Authenticators) enrollTicket(ctx context.Context, q db.Querier, owner account.Account, token string) (ticket.Ticket, error) {
	link, err := ticket.ByToken(ctx, q, token, m.login.Clock())
	if errors.Is(err, ticket.ErrInvalid) || err == nil && (link.Kind != ticket.Enroll || link.AccountID != owner.ID) {
		return ticket.Ticket{}, ErrLocked
	}
	return link, err
}

// BeginEnrollment starts an enrolment in the session and returns its id. link is the token
// of the operator's link that the browser presented, or empty. It returns [ErrLocked] if a
// link is needed, authenticator.ErrLimit if the account has as many authenticators as
// allowed, and a [*login.WaitError] past the limit of changes.
func (m Authenticators) BeginEnrollment(ctx context.Context, me login.Me, link string) (string, error) {
	var id string
	err := m.editPaced(ctx, &me, audit.AuthenticatorAdded, func(tx *db.Tx) error {
		have, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return err
		}
		if len(have) >= authenticator.MaxPerAccount {
			return authenticator.ErrLimit
		}
		if m.NeedsTicket(me.Account, len(have) > 0) {
			if _, err := m.enrollTicket(ctx, tx, me.Account, link); err != nil {
				return err
			}
		}
		pending, err := authenticator.CreatePending(ctx, tx, me.Account.ID, me.Session.ID, authenticator.TOTP, m.login.Clock())
		if err != nil {
			return err
		}
		id = pending.ID
		return totp.Create(ctx, tx, m.login.Ring, pending)
	})
	return id, err
}

// Enrollment is what the wizard shows: the only data with which a secret leaves the server
// (R28).
type Enrollment struct {
	ID     string
	First  bool        // it will turn two-factor authentication on
	Key    secret.Text // base32
	KeyURI secret.Text
}

// Enrollment returns the pending enrolment with this id if the session of me started it,
// else [login.ErrGone].
func (m Authenticators) Enrollment(ctx context.Context, me login.Me, id string) (Enrollment, error) {
	q := m.login.DB.Reader()
	pending, err := authenticator.Pending(ctx, q, me.Session.ID, id, m.login.Clock())
	if errors.Is(err, db.ErrNotFound) {
		return Enrollment{}, login.ErrGone
	}
	if err != nil {
		return Enrollment{}, err
	}
	state, err := totp.Load(ctx, q, m.login.Ring, pending)
	if err != nil {
		return Enrollment{}, err
	}
	have, err := authenticator.List(ctx, q, me.Account.ID)
	if err != nil {
		return Enrollment{}, err
	}
	return Enrollment{
		ID: id, First: len(have) == 0,
		Key:    secret.NewText(totp.Base32(state.Secret)),
		KeyURI: secret.NewText(totp.KeyURI(m.login.Issuer, me.Account.Name, state.Secret)),
	}, nil
}

// Confirmed is the result of a completed enrolment.
type Confirmed struct {
	BackupCodes backupcode.Set // if this was the first authenticator; shown once
	Session     secret.Text    // the session's new token
	Device      secret.Text    // the device cookie's new value
}

// ConfirmEnrollment completes an enrolment with a code of the new authenticator, which uses
// up the code's time step. No budget applies, since the user of the wizard has the secret on
// the screen and has nothing to guess. It returns a [*login.CodeError], [login.ErrGone], [ErrLocked],
// [login.ErrClock], or authenticator.ErrNameInvalid and ErrLimit.
func (m Authenticators) ConfirmEnrollment(ctx context.Context, me login.Me, id, code, name, link string) (Confirmed, error) {
	q := m.login.DB.Reader()
	pending, err := authenticator.Pending(ctx, q, me.Session.ID, id, m.login.Clock())
	if errors.Is(err, db.ErrNotFound) {
		return Confirmed{}, login.ErrGone
	}
	if err != nil {
		return Confirmed{}, err
	}
	if name, err = authenticator.NormalizeName(name); err != nil {
		return Confirmed{}, err
	}
	digits, err := totp.Normalize(code)
	if err != nil {
		return Confirmed{}, &login.CodeError{Malformed: true}
	}
	unsure, err := m.login.CheckClock(ctx, q)
	if err != nil {
		return Confirmed{}, err
	}
	state, err := totp.Load(ctx, q, m.login.Ring, pending)
	if err != nil {
		return Confirmed{}, err
	}
	check := state.Verify(digits, m.login.Clock())
	if check.Result != totp.Accepted {
		check = state.Explain(digits, m.login.Clock())
		return Confirmed{}, &login.CodeError{Result: check.Result, Minutes: check.Minutes}
	}
	have, err := authenticator.List(ctx, q, me.Account.ID)
	if err != nil {
		return Confirmed{}, err
	}
	first := len(have) == 0
	var set backupcode.Set
	if first {
		// Ten slow hashes: compute them before the transaction, which holds the write lock.
		if set, err = m.login.NewBackupCodes(ctx, me.Account.ID); err != nil {
			return Confirmed{}, err
		}
	}
	var done Confirmed
	done.Session, err = m.editCredentials(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
		now := m.login.Clock()
		have, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return nil, err
		}
		if first != (len(have) == 0) {
			return nil, login.ErrGone // another enrolment was confirmed in between
		}
		if m.NeedsTicket(me.Account, !first) {
			opened, err := m.enrollTicket(ctx, tx, me.Account, link)
			if err != nil {
				return nil, err
			}
			if err := ticket.Redeem(ctx, tx, opened, now); err != nil {
				return nil, ErrLocked
			}
			if err := account.SetEnrollLocked(ctx, tx, me.Account.ID, false); err != nil {
				return nil, err
			}
		}
		if err := authenticator.Confirm(ctx, tx, me.Session.ID, pending, name, now); err != nil {
			return nil, err
		}
		if err := totp.Claim(ctx, tx, id, check, unsure); err != nil {
			return nil, err
		}
		event := me.From.Event(now, me.Account.ID, audit.AuthenticatorAdded)
		event.Detail, event.AuthenticatorID = name, id
		if first {
			if err := backupcode.Issue(ctx, tx, m.login.Ring, me.Account.ID, set, now); err != nil {
				return nil, err
			}
			if err := account.SetTwoFactor(ctx, tx, me.Account.ID, now); err != nil {
				return nil, err
			}
			event.Kind, done.BackupCodes = audit.TwoFactorEnabled, set
		}
		if err := audit.Append(ctx, tx, event); err != nil {
			return nil, err
		}
		if done.Device, err = device.Remember(ctx, tx, me.From.Device, me.Account.ID, me.From.AsDevice(), now); err != nil {
			return nil, err
		}
		me.From.Device = done.Device.Reveal() // editCredentials leaves this browser known
		proof := []authenticator.Proof{{Kind: authenticator.TOTP, ID: id, At: now}}
		return authenticator.Merge(me.Session.Proofs, proof), nil
	})
	return done, err
}

// CancelEnrollment removes a pending enrolment of the session.
func (m Authenticators) CancelEnrollment(ctx context.Context, me login.Me, id string) error {
	return m.edit(ctx, &me, func(tx *db.Tx) error { return authenticator.Cancel(ctx, tx, me.Session.ID, id) })
}
