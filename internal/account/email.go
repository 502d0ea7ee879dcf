package account

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// MailPause is how long after mail replaced the password it may not replace the second factor,
// and the other way round. Otherwise a mailbox alone would be both factors.
const MailPause = 7 * 24 * time.Hour

// MailMayReplacePassword reports whether a mailed link may set a new password.
func (a Account) MailMayReplacePassword(now time.Time) bool {
	return a.FactorMailedAt.IsZero() || now.Sub(a.FactorMailedAt) >= MailPause
}

// MailMayReplaceFactor reports whether a mailed link may open the wizard.
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

// SetEmailVerified stores that the account's present address reaches its owner. A mark of
// [SetEmailRefused] ends.
func SetEmailVerified(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `
		UPDATE accounts SET verified_email = email_folded, email_verified_at = $2, refused_email = NULL, email_refused_at = NULL
		WHERE  id = $1`, id, db.At{Time: at})
}

// SetEmailRefused stores that the mail server refuses this address, and reports whether that is
// news. It has no effect if the account has another address by now.
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

// SetFactorMailed stores that a mailed link opened the wizard.
func SetFactorMailed(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET factor_mailed_at = $2 WHERE id = $1`, id, db.At{Time: at})
}
