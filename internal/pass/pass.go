// Package pass owns machine passes, table passes: what a script carries in place
// of a session to one panel. Each belongs to an account and dies with every
// change of how that signs in. The database has the tokens' hashes. What a pass
// opens of its panel is access.Scope's to say, whether that is enough login's.
package pass

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// maxPerAccount passes, those that ended included: a list that its owner
	// still reads.
	maxPerAccount = 20

	// MaxLife of a pass: one that nobody renews in a year is forgotten somewhere.
	MaxLife = 366 * 24 * time.Hour

	// keptFor is how long one that ended by itself is still listed, and its
	// holder told so.
	keptFor = 30 * 24 * time.Hour

	// seenEvery is how often a request moves a pass's last use, as a session's.
	seenEvery = time.Minute
)

// Errors for whoever makes a pass.
var (
	ErrLimit     = fmt.Errorf("the account has %d passes already: revoke one first", maxPerAccount)
	ErrNameTaken = errors.New("the account has a pass of that name already; choose another name")
	ErrLife      = errors.New("a pass is valid for a year at most")
)

// Pass is a machine pass.
type Pass struct {
	ID        string
	AccountID string
	Stamp     string // the account's, when the pass was made
	Name      string // unique within the account
	Scope     access.Scope
	Proofs    []authenticator.Proof // of the session that made it; they age as that session's do

	// ByOperator: made on the command line. It needs no proofs, since whoever
	// works there could as well set the password or open the panel.
	ByOperator bool

	CreatedAt time.Time
	SeenAt    time.Time // zero: not used yet
	ExpiresAt time.Time
}

const columns = `id, account_id, security_stamp, name, panel, path, methods, addresses, proofs, by_operator, created_at, seen_at, expires_at`

func read(scan db.Scan) (Pass, error) {
	var (
		p                                       Pass
		panel, path, methods, addresses, proofs string
		created, seen, expires                  db.At
	)
	err := scan(&p.ID, &p.AccountID, &p.Stamp, &p.Name, &panel, &path, &methods, &addresses, &proofs, &p.ByOperator, &created, &seen, &expires)
	if err != nil {
		return Pass{}, err
	}
	p.CreatedAt, p.SeenAt, p.ExpiresAt = created.Time, seen.Time, expires.Time
	if p.Scope, err = access.NewScope(panel, path, methods, addresses); err != nil {
		return Pass{}, fmt.Errorf("stored scope: %w", err) // whoever reads it denies
	}
	p.Proofs, err = authenticator.ParseProofs(proofs)
	return p, err
}

// Counts reports whether the pass, as it was read, isn't ended for its account as
// that was read: whoever was disabled or changed how they sign in has none (R17).
// That it may have expired, [Pass.Expired] says.
func (p Pass) Counts(owner account.Account) bool {
	return !owner.Disabled() && p.Stamp == owner.Stamp
}

// Expired reports whether the pass ended by itself.
func (p Pass) Expired(now time.Time) bool { return !now.Before(p.ExpiresAt) }

// Create makes a pass for the account and returns its token, which is shown this
// once. Of p it takes the name, as authenticator.NormalizeName returns it, scope,
// proofs, who made it and its end. The caller holds the account's row, so that two
// at once see each other. It returns [ErrLimit], [ErrNameTaken] or [ErrLife].
func Create(ctx context.Context, tx *db.Tx, owner account.Account, p Pass, now time.Time) (secret.Text, error) {
	if life := p.ExpiresAt.Sub(now); life <= 0 || life > MaxLife {
		return secret.Text{}, ErrLife
	}
	var n int
	if err := db.One(ctx, tx, `SELECT COUNT(*) FROM passes WHERE account_id = $1`, []any{owner.ID}, &n); err != nil {
		return secret.Text{}, fmt.Errorf("count passes: %w", err)
	}
	if n >= maxPerAccount {
		return secret.Text{}, ErrLimit
	}
	token := secret.NewText(access.PassPrefix + secret.NewToken().Reveal())
	_, err := db.Exec(ctx, tx, `
		INSERT INTO passes (id, token_hash, account_id, security_stamp, name, panel, path, methods, addresses, proofs, by_operator, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		secret.NewID(), secret.Hash(token.Reveal()), owner.ID, owner.Stamp, p.Name, p.Scope.Panel, p.Scope.Path, p.Scope.MethodList(), p.Scope.AddressList(),
		authenticator.EncodeProofs(p.Proofs), p.ByOperator, db.At{Time: now}, db.At{Time: p.ExpiresAt})
	if errors.Is(err, db.ErrConflict) {
		return secret.Text{}, ErrNameTaken
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("make pass: %w", err)
	}
	return token, nil
}

// ByToken returns the pass with this token to the panel, an origin, and its
// account, or [db.ErrNotFound]: for an unknown token, one of another panel and one
// that doesn't count any more. It may have expired.
func ByToken(ctx context.Context, q db.Querier, token, panel string) (Pass, account.Account, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM passes WHERE token_hash = $1 AND panel = $2`, secret.Hash(token), panel)
	if err != nil {
		return Pass{}, account.Account{}, fmt.Errorf("read pass: %w", err)
	}
	if len(all) == 0 {
		return Pass{}, account.Account{}, db.ErrNotFound
	}
	owner, err := account.ByID(ctx, q, all[0].AccountID)
	if err != nil {
		return Pass{}, account.Account{}, err
	}
	if !all[0].Counts(owner) {
		return Pass{}, account.Account{}, db.ErrNotFound
	}
	return all[0], owner, nil
}

// ByID returns the account's pass with this id, or [db.ErrNotFound].
func ByID(ctx context.Context, q db.Querier, accountID, id string) (Pass, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM passes WHERE account_id = $1 AND id = $2`, accountID, id)
	if err != nil {
		return Pass{}, fmt.Errorf("read pass: %w", err)
	}
	if len(all) == 0 {
		return Pass{}, db.ErrNotFound
	}
	return all[0], nil
}

// List returns the account's passes by name, those that expired lately too.
func List(ctx context.Context, q db.Querier, accountID string) ([]Pass, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM passes WHERE account_id = $1 ORDER BY name, id`, accountID)
	if err != nil {
		return nil, fmt.Errorf("list passes: %w", err)
	}
	return all, nil
}

// Revoke ends one pass of the account and reports whether it was there.
func Revoke(ctx context.Context, tx *db.Tx, accountID, id string) (bool, error) {
	tx.Changed(id)
	n, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE id = $1 AND account_id = $2`, id, accountID)
	return n == 1, err
}

// RevokeAll ends all passes of the account.
func RevokeAll(ctx context.Context, tx *db.Tx, accountID string) error {
	tx.Changed(accountID)
	_, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE account_id = $1`, accountID)
	return err
}

// SeenIsOld reports whether a use at now is to be noted.
func (p *Pass) SeenIsOld(now time.Time) bool { return now.Sub(p.SeenAt) >= seenEvery }

// Seen stores that the pass with this id was used, unless somebody changes it
// right now.
func Seen(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE passes SET seen_at = $2 WHERE id = (
			SELECT id FROM passes WHERE id = $1 AND (seen_at IS NULL OR seen_at < $2)`+tx.UnlessLocked()+`)`, id, db.At{Time: at})
	return err
}

// Sweep deletes passes that ended by themselves some time ago.
func Sweep(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE expires_at <= $1`, db.At{Time: now.Add(-keptFor)})
	return err
}

// EndAll ends every pass there is: the database came out of a backup, and may have
// forgotten which were revoked since (F13).
func EndAll(ctx context.Context, tx *db.Tx) error {
	tx.Changed("")
	_, err := db.Exec(ctx, tx, `DELETE FROM passes`)
	return err
}

// BringBack brings last uses that a clock which was ahead wrote down back to latest,
// and the ends of passes that were made by it to [MaxLife] from there.
func BringBack(ctx context.Context, tx *db.Tx, latest time.Time) error {
	tx.Changed("")
	if _, err := db.Exec(ctx, tx, `UPDATE passes SET seen_at = $1 WHERE seen_at > $1`, db.At{Time: latest}); err != nil {
		return err
	}
	_, err := db.Exec(ctx, tx, `UPDATE passes SET expires_at = $1 WHERE expires_at > $1`, db.At{Time: latest.Add(MaxLife)})
	return err
}
