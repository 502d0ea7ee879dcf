package account

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// MailPause is the minimum time between two mailed links, if one replaces the password and the
// other the second factor, in either order. Without it, the mailbox alone would be both factors.
const MailPause = 7 * 24 * time.Hour

// MailMayReplacePassword reports whether a mailed link may set a new password. After an operator
// has removed the second factor, no mailed link may do so until the owner has another one: only
// the password protects the account then.
func (a Account) MailMayReplacePassword(now time.Time) bool {
	return !a.EnrollLocked && (a.FactorMailedAt.IsZero() || now.Sub(a.FactorMailedAt) >= MailPause)
}

// MailMayReplaceFactor reports whether a mailed link may open the wizard that replaces the second
// factor.
func (a Account) MailMayReplaceFactor(now time.Time) bool {
	return a.PasswordMailedAt.IsZero() || now.Sub(a.PasswordMailedAt) >= MailPause
}

// MayRecover reports whether mails may help the owner to sign in again: the address is known to
// reach the owner, and the account isn't disabled.
func (a Account) MayRecover() bool { return !a.Disabled() && a.EmailReachesOwner() }

// EmailReachesOwner reports whether the address was verified, and wasn't refused since. A mailbox
// that was gone for a time may belong to another person afterwards.
func (a Account) EmailReachesOwner() bool {
	return a.Email != "" && !a.EmailVerifiedAt.IsZero() && a.EmailRefusedAt.IsZero()
}

// Reasons why no link may be mailed to the account's address.
var (
	ErrDisabled        = errors.New("the account is disabled")
	ErrNoEmail         = errors.New("the account has no email address")
	ErrEmailUnverified = errors.New("the email address isn't confirmed")
	ErrEmailRefused    = errors.New("a mail server said that there is no such mailbox")
)

// CheckInvitable returns nil if an invitation may be mailed to the account's address, which an
// operator entered, and otherwise the reason why not.
func (a Account) CheckInvitable() error {
	switch {
	case a.Disabled():
		return ErrDisabled
	case a.Email == "":
		return ErrNoEmail
	case !a.EmailRefusedAt.IsZero():
		return ErrEmailRefused
	}
	return nil
}

// CheckMailable returns nil if a link to an account that is in use may be mailed to its address,
// and otherwise the reason why not.
func (a Account) CheckMailable() error {
	err := a.CheckInvitable()
	if err == nil && !a.MayRecover() {
		err = ErrEmailUnverified
	}
	return err
}

// IsNamed reports whether a user typed the name or the email address of the account.
func (a Account) IsNamed(typed string) bool {
	if name, err := NormalizeName(typed); err == nil {
		return name == a.Name
	}
	_, typed, err := NormalizeEmail(typed)
	_, own, ownErr := NormalizeEmail(a.Email)
	return err == nil && ownErr == nil && typed != "" && typed == own
}

// SetEmailVerified stores that the account's present address reaches its owner. It removes the
// mark that [SetEmailRefused] set.
func SetEmailVerified(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `
		UPDATE accounts SET verified_email = email_folded, email_verified_at = $2, refused_email = NULL, email_refused_at = NULL
		WHERE  id = $1`, id, db.At{Time: at})
}

// SetEmailRefused stores that the mail server refuses this address, and reports whether that
// wasn't stored before. If the account has another address by now, SetEmailRefused has no effect
// and returns false.
func SetEmailRefused(ctx context.Context, tx *db.Tx, id, address string, at time.Time) (bool, error) {
	_, folded, err := NormalizeEmail(address)
	if err != nil {
		return false, nil // no account has this address
	}
	tx.Changed(id)
	n, err := db.Exec(ctx, tx, `
		UPDATE accounts SET refused_email = email_folded, email_refused_at = $3
		WHERE  id = $1 AND email_folded = $2 AND (refused_email IS NULL OR refused_email <> email_folded)`, id, folded, db.At{Time: at})
	return n == 1, err
}

// SetPasswordMailed stores that a mailed link replaced the password.
func SetPasswordMailed(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET password_mailed_at = $2 WHERE id = $1`, id, db.At{Time: at})
}

// SetFactorMailed stores that a mailed link opened the wizard that replaces the second factor.
func SetFactorMailed(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET factor_mailed_at = $2 WHERE id = $1`, id, db.At{Time: at})
}
