package manage

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// NeedsTicket reports whether the account can enrol its next authenticator only with an operator's
// link. It needs the link after a reset (F15), and for its first authenticator if
// Options.EnrollByTicket is set or the account's policy p says so.
func (m Authenticators) NeedsTicket(owner account.Account, p policy.Policy, twoFactor bool) bool {
	return owner.EnrollLocked || (m.enrollByTicket || p.ByTicket) && !twoFactor
}

// enrollTicket returns the valid ticket with which the account may open the wizard, or
// [ErrLocked].
func (m Authenticators) enrollTicket(ctx context.Context, q db.Querier, owner account.Account, token string) (ticket.Ticket, error) {
	link, err := ticket.ByToken(ctx, q, token, m.login.Clock())
	if errors.Is(err, ticket.ErrInvalid) || err == nil && (link.Kind != ticket.Enroll || link.AccountID != owner.ID) {
		return ticket.Ticket{}, ErrLocked
	}
	if err != nil {
		return link, err
	}
	err = m.checkMailed(ctx, q, link, owner)
	if errors.Is(err, ticket.ErrInvalid) {
		err = ErrLocked
	}
	return link, err
}

// BeginEnrollment starts an enrolment in the session and returns its id. The parameter link is the
// token of the operator's link that the browser presented, or "". BeginEnrollment returns
// [ErrLocked] if a link is needed, authenticator.ErrLimit if the account has as many TOTP
// authenticators as allowed, and a [*login.WaitError] after too many changes.
func (m Authenticators) BeginEnrollment(ctx context.Context, me login.Me, link string) (string, error) {
	var id string
	err := m.editPaced(ctx, me, audit.AuthenticatorAdded, func(tx *db.Tx, me login.Me) error {
		have, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return err
		}
		if len(authenticator.OfKind(have, authenticator.TOTP)) >= authenticator.MaxTOTP {
			return authenticator.ErrLimit
		}
		p, err := m.entry.PolicyOf(ctx, tx, me.Account.ID)
		if err != nil {
			return err
		}
		if m.NeedsTicket(me.Account, p, len(have) > 0) {
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

// Enrollment is what the wizard shows. No other data takes the secret of an authenticator out of
// the server (R28).
type Enrollment struct {
	ID     string
	First  bool        // the enrolment will turn two-factor authentication on
	Key    secret.Text // base32
	KeyURI secret.Text
}

// Enrollment returns the pending enrolment with this id if the session of me started it, and
// otherwise [login.ErrGone].
func (m Authenticators) Enrollment(ctx context.Context, me login.Me, id string) (Enrollment, error) {
	q := m.login.DB.Reader()
	_, state, err := m.pending(ctx, q, me.Session.ID, id)
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
		KeyURI: secret.NewText(totp.KeyURI(m.login.Issuer, me.Account.Name, state.Secret, state.Parameters)),
	}, nil
}

// pending returns a pending enrolment of the session and its secret, or [login.ErrGone]. A
// reset may remove the enrolment between the two reads.
func (m Authenticators) pending(ctx context.Context, q db.Querier, sessionID, id string) (authenticator.Authenticator, totp.State, error) {
	pending, err := authenticator.Pending(ctx, q, sessionID, id, m.login.Clock())
	var state totp.State
	if err == nil {
		state, err = totp.Load(ctx, q, m.login.Ring, pending)
	}
	if errors.Is(err, db.ErrNotFound) {
		err = login.ErrGone
	}
	return pending, state, err
}

// Confirmation is what completes an enrolment.
type Confirmation struct {
	ID     string // of the pending enrolment
	Code   string // of the new authenticator
	Name   string // for the authenticator
	Ticket string // token of the operator's link that the browser presented, or empty
}

// Confirmed is the result of a completed enrolment.
type Confirmed struct {
	login.Opened
	BackupCodes backupcode.Set // set if this was the first authenticator; shown once
}

// verifiedEnrollment is a pending enrolment whose code was right.
type verifiedEnrollment struct {
	pending authenticator.Authenticator
	check   totp.Check
	unsure  bool // the clock may be ahead
	first   bool // the enrolment turns two-factor authentication on
	ticket  string
	codes   backupcode.Set // if first
}

// ConfirmEnrollment completes an enrolment with a code of the new authenticator, and uses up the
// code's time step. No budget limits the tries: the wizard shows the secret, so nobody needs to
// guess. It returns a [*login.CodeError], [login.ErrGone], [ErrLocked], [login.ErrClock],
// authenticator.ErrNameInvalid or authenticator.ErrLimit.
func (m Authenticators) ConfirmEnrollment(ctx context.Context, me login.Me, given Confirmation) (Confirmed, error) {
	e, err := m.verifyEnrollment(ctx, me, given)
	if err != nil {
		return Confirmed{}, err
	}
	var done Confirmed
	done.Session, err = m.editCredentials(ctx, me, func(tx *db.Tx, me login.Me) (kept, error) {
		if err := m.confirmEnrollment(ctx, tx, me, e); err != nil {
			return kept{}, err
		}
		now := m.login.Clock()
		if done.Device, _, err = device.Remember(ctx, tx, me.Account.ID, me.From.AsDevice(), now); err != nil {
			return kept{}, err
		}
		proof := []authenticator.Proof{{Kind: authenticator.TOTP, ID: e.pending.ID, At: now}}
		// An additional authenticator weakens no proof, so strong machine passes stay. The first
		// authenticator ends the passes that were made with only the password.
		return kept{proofs: authenticator.Merge(me.Session.Proofs, proof), device: done.Device.Reveal(), strongPasses: true}, nil
	})
	if err == nil {
		done.BackupCodes = e.codes
	}
	return done, err
}

// verifyEnrollment verifies the code and, for a first authenticator, computes the ten slow hashes of
// the backup codes. It is called before the transaction, which holds the write lock.
func (m Authenticators) verifyEnrollment(ctx context.Context, me login.Me, given Confirmation) (verifiedEnrollment, error) {
	q := m.login.DB.Reader()
	e := verifiedEnrollment{ticket: given.Ticket}
	var (
		state totp.State
		err   error
	)
	if e.pending, state, err = m.pending(ctx, q, me.Session.ID, given.ID); err != nil {
		return e, err
	}
	if e.pending.Name, err = authenticator.NormalizeName(given.Name); err != nil {
		return e, err
	}
	digits, err := totp.Normalize(given.Code)
	if err != nil || len(digits) != totp.Digits {
		return e, &login.CodeError{Malformed: true, Format: login.StandardFormat()}
	}
	if e.unsure, err = m.login.CheckClock(ctx, q); err != nil {
		return e, err
	}
	e.check = state.Verify(digits, m.login.Clock())
	if e.check.Result != totp.Accepted {
		why := state.Explain(digits, m.login.Clock())
		return e, &login.CodeError{Result: why.Result, Minutes: why.Minutes, Format: login.StandardFormat()}
	}
	have, err := authenticator.List(ctx, q, me.Account.ID)
	if err != nil {
		return e, err
	}
	if e.first = len(have) == 0; e.first {
		e.codes, err = m.login.NewBackupCodes(ctx, me.Account.ID)
	}
	return e, err
}

// confirmEnrollment writes the rows of a verified enrolment and its event.
func (m Authenticators) confirmEnrollment(ctx context.Context, tx *db.Tx, me login.Me, e verifiedEnrollment) error {
	now := m.login.Clock()
	have, err := authenticator.List(ctx, tx, me.Account.ID)
	if err != nil {
		return err
	}
	if e.first != (len(have) == 0) {
		return login.ErrGone // another enrolment was confirmed in between
	}
	p, err := m.entry.PolicyOf(ctx, tx, me.Account.ID)
	if err != nil {
		return err
	}
	if m.NeedsTicket(me.Account, p, !e.first) {
		if err := m.redeemEnrollTicket(ctx, tx, me.Account, e.ticket, now); err != nil {
			return err
		}
	}
	if err := authenticator.Confirm(ctx, tx, me.Session.ID, e.pending, now); err != nil {
		return err
	}
	if err := totp.Claim(ctx, tx, e.pending.ID, e.check, e.unsure, time.Time{}); err != nil {
		return err
	}
	event := me.From.Event(now, me.Account.ID, audit.AuthenticatorAdded)
	event.Detail, event.AuthenticatorID = e.pending.Name, e.pending.ID
	if e.first {
		if err := backupcode.Issue(ctx, tx, m.login.Ring, me.Account.ID, e.codes, now); err != nil {
			return err
		}
		if err := account.SetTwoFactor(ctx, tx, me.Account.ID, now); err != nil {
			return err
		}
		event.Kind = audit.TwoFactorEnabled
	}
	return m.login.Journal.Record(ctx, tx, event)
}

// redeemEnrollTicket redeems the ticket with which the account may open the wizard, or returns
// [ErrLocked]. If the ticket was mailed, it sets the account's FactorMailedAt, the time at which a
// mailed link last replaced the second factor.
func (m Authenticators) redeemEnrollTicket(ctx context.Context, tx *db.Tx, owner account.Account, token string, now time.Time) error {
	opened, err := m.enrollTicket(ctx, tx, owner, token)
	if err != nil {
		return err
	}
	if err := ticket.Redeem(ctx, tx, opened, now); err != nil {
		return ErrLocked
	}
	if opened.IsMailed() {
		if err := account.SetFactorMailed(ctx, tx, owner.ID, now); err != nil {
			return err
		}
	}
	return account.SetEnrollLocked(ctx, tx, owner.ID, false)
}

// Postpone records that the owner doesn't want to enable two-factor authentication yet. For a while,
// no page after a sign-in then asks for it; see policy.Policy.Reminds. If no such page is due,
// Postpone changes nothing.
func (m Authenticators) Postpone(ctx context.Context, me login.Me) error {
	return m.edit(ctx, me, func(tx *db.Tx, me login.Me) error {
		p, err := m.entry.PolicyOf(ctx, tx, me.Account.ID)
		now := m.login.Clock()
		if err != nil || !p.Reminds(me.Account.TwoFactorPostponedAt, now) {
			return err
		}
		return account.PostponeTwoFactor(ctx, tx, me.Account.ID, now)
	})
}

// CancelEnrollment removes a pending enrolment of the session.
func (m Authenticators) CancelEnrollment(ctx context.Context, me login.Me, id string) error {
	return m.edit(ctx, me, func(tx *db.Tx, me login.Me) error { return authenticator.Cancel(ctx, tx, me.Session.ID, id) })
}
