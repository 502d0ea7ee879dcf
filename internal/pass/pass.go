// Package pass owns machine passes and the table passes. A script sends a pass to one panel
// in place of a session's cookie. A pass belongs to an account and ends with the account's
// credentials: a change of the account's stamp ends it, unless the change adds an authenticator
// and the pass is strong. The database has only hashes of the tokens. access.Scope decides
// which requests a pass covers, and package entry whether its proofs suffice.
package pass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// maxPerAccount limits an account's passes, including expired ones, so that the owner can
	// survey the list of them.
	maxPerAccount = 20

	// MaxLife limits the life of a pass, since a pass that was not renewed for a year is
	// probably forgotten somewhere.
	MaxLife = 366 * 24 * time.Hour

	// listedAfterEnd is how long an expired pass stays in the list. For that time, a request with
	// the pass is told that it has expired, and not that it is unknown.
	listedAfterEnd = 30 * 24 * time.Hour

	// seenResolution is the resolution at which the last use of a pass is stored; it is the same for
	// a session.
	seenResolution = time.Minute
)

// Errors of [Create].
var (
	ErrLimit     = fmt.Errorf("the account has %d passes already: revoke one first", maxPerAccount)
	ErrNameTaken = errors.New("the account has a pass of that name already; choose another name")
	ErrLife      = errors.New("a pass is valid for a year at most")
)

// Pass is a machine pass.
type Pass struct {
	ID        string
	AccountID string
	Stamp     string // the account's stamp when the pass was made
	Name      string // unique within the account
	Scope     access.Scope
	Proofs    []authenticator.Proof // the proofs of the session that made it, with their times

	// ByOperator is set if the pass was made on the command line. Such a pass needs no proofs,
	// since an operator there could also set the account's password or open the panel.
	ByOperator bool

	CreatedAt time.Time
	SeenAt    time.Time // zero if never used
	ExpiresAt time.Time
}

const columns = `id, account_id, security_stamp, name, panel, path, methods, addresses, proofs, by_operator, created_at, seen_at, expires_at`

func scanPass(scan db.Scan) (Pass, error) {
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
		return Pass{}, fmt.Errorf("stored scope: %w", err) // an error denies the request
	}
	p.Proofs, err = authenticator.ParseProofs(proofs)
	return p, err
}

// IsValidFor reports whether the account that owns the pass is enabled, and its credentials are
// unchanged since the pass was made (R17). It doesn't check the expiry; see [Pass.Expired].
func (p Pass) IsValidFor(owner account.Account) bool {
	return !owner.Disabled() && p.Stamp == owner.Stamp
}

// IsStrong reports whether the pass was made in a session with two proven factors or on the
// command line.
func (p Pass) IsStrong() bool { return p.ByOperator || authenticator.AAL(p.Proofs) >= 2 }

// Expired reports whether the pass has ended at the time now.
func (p Pass) Expired(now time.Time) bool { return !now.Before(p.ExpiresAt) }

// Create stores a pass for the account and returns its token, which can't be read again. It uses
// p's Name (normalized by authenticator.NormalizeName), Scope, Proofs, ByOperator and ExpiresAt. It
// drops proofs that are dated in the future; see [authenticator.Since]. The caller must have locked
// the account's row, so that concurrent calls don't exceed the limit. It returns [ErrLimit],
// [ErrNameTaken] or [ErrLife].
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
		authenticator.EncodeProofs(authenticator.Since(p.Proofs, time.Time{}, now)), p.ByOperator, db.At{Time: now}, db.At{Time: p.ExpiresAt})
	if errors.Is(err, db.ErrConflict) {
		return secret.Text{}, ErrNameTaken
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("make pass: %w", err)
	}
	return token, nil
}

// ByToken returns the pass with this token, and its account. The parameter panel is the origin of
// the panel that the pass must be for. ByToken returns [db.ErrNotFound] for an unknown token, for a
// pass to another panel, and for a pass that isn't valid for its account any more. The pass that it
// returns may have expired.
func ByToken(ctx context.Context, q db.Querier, token, panel string) (Pass, account.Account, error) {
	p, owner, err := readByToken(ctx, q, token, panel)
	if err == nil && !p.IsValidFor(owner) {
		// [RevokeWeak] may have given pass and account a new stamp after the pass was read.
		p, owner, err = readByToken(ctx, q, token, panel)
	}
	if err == nil && !p.IsValidFor(owner) {
		err = db.ErrNotFound
	}
	if err != nil {
		return Pass{}, account.Account{}, err
	}
	return p, owner, nil
}

// readByToken reads the pass and then its account, whether or not the pass is valid for it.
func readByToken(ctx context.Context, q db.Querier, token, panel string) (Pass, account.Account, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM passes WHERE token_hash = $1 AND panel = $2`,
		[]any{secret.Hash(token), panel}, scanPass)
	if err != nil {
		return Pass{}, account.Account{}, fmt.Errorf("read pass: %w", err)
	}
	if len(all) == 0 {
		return Pass{}, account.Account{}, db.ErrNotFound
	}
	owner, err := account.ByID(ctx, q, all[0].AccountID)
	return all[0], owner, err
}

// NameOf returns the name of the account's pass with this id, or [db.ErrNotFound]. It doesn't read
// the other columns, so that a pass whose other columns can't be parsed can still be revoked.
func NameOf(ctx context.Context, q db.Querier, accountID, id string) (name string, err error) {
	err = db.One(ctx, q, `SELECT name FROM passes WHERE account_id = $1 AND id = $2`, []any{accountID, id}, &name)
	return name, err
}

// List returns the account's passes ordered by name, including recently expired ones.
func List(ctx context.Context, q db.Querier, accountID string) ([]Pass, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM passes WHERE account_id = $1 ORDER BY name, id`,
		[]any{accountID}, scanPass)
	if err != nil {
		return nil, fmt.Errorf("list passes: %w", err)
	}
	return all, nil
}

// Revoke deletes one pass of the account and reports whether it existed.
func Revoke(ctx context.Context, tx *db.Tx, accountID, id string) (bool, error) {
	tx.Changed(id)
	n, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE id = $1 AND account_id = $2`, id, accountID)
	return n == 1, err
}

// RevokeAll deletes all passes of the account.
func RevokeAll(ctx context.Context, tx *db.Tx, accountID string) error {
	tx.Changed(accountID)
	_, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE account_id = $1`, accountID)
	return err
}

// RevokeWeak gives the account's new stamp to its valid strong passes, and deletes all its other
// passes, including those that can't be read. The parameter before is the account with its earlier
// stamp.
func RevokeWeak(ctx context.Context, tx *db.Tx, before account.Account, stamp string) error {
	tx.Changed(before.ID)
	all, err := db.All(ctx, tx, `SELECT `+columns+` FROM passes WHERE account_id = $1`, []any{before.ID}, func(scan db.Scan) (Pass, error) {
		p, err := scanPass(scan)
		if err != nil {
			return Pass{}, nil // this isn't a strong pass; an error of the connection ends the transaction anyway
		}
		return p, nil
	})
	if err != nil {
		return fmt.Errorf("read passes: %w", err)
	}
	for _, p := range all {
		if !p.IsStrong() || !p.IsValidFor(before) {
			continue
		}
		if _, err := db.Exec(ctx, tx, `UPDATE passes SET security_stamp = $2 WHERE id = $1`, p.ID, stamp); err != nil {
			return fmt.Errorf("renew pass: %w", err)
		}
	}
	if _, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE account_id = $1 AND security_stamp <> $2`, before.ID, stamp); err != nil {
		return fmt.Errorf("revoke passes: %w", err)
	}
	return nil
}

// SeenIsOld reports whether the stored last use is so old that a use at the time now must be
// written.
func (p *Pass) SeenIsOld(now time.Time) bool { return now.Sub(p.SeenAt) >= seenResolution }

// NoteUse writes the last use of the pass with this id. It skips a row that another transaction
// has locked.
func NoteUse(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE passes SET seen_at = $2 WHERE id = (
			SELECT id FROM passes WHERE id = $1 AND (seen_at IS NULL OR seen_at < $2) FOR NO KEY UPDATE SKIP LOCKED)`, id, db.At{Time: at})
	return err
}

// Expire deletes the passes that expired at least [listedAfterEnd] ago. It skips locked rows, as
// session.Expire does.
func Expire(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM passes WHERE id IN (
		SELECT id FROM passes WHERE expires_at <= $1 FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now.Add(-listedAfterEnd)})
	return err
}

// Purge deletes all passes after the database was restored from a backup: some of them may have been
// revoked since the backup was made (F13).
func Purge(ctx context.Context, tx *db.Tx) error {
	tx.Changed("")
	_, err := db.Exec(ctx, tx, `DELETE FROM passes`)
	return err
}

// ClampTimes corrects the times that a clock that was ahead has stored. It sets last uses that are
// later than latest back to latest, sets ends that are later than latest plus [MaxLife] back to
// that time, and dates proofs as [datedAsOld] does.
func ClampTimes(ctx context.Context, tx *db.Tx, latest time.Time) error {
	tx.Changed("")
	if _, err := db.Exec(ctx, tx, `UPDATE passes SET seen_at = $1 WHERE seen_at > $1`, db.At{Time: latest}); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, tx, `UPDATE passes SET expires_at = $1 WHERE expires_at > $1`, db.At{Time: latest.Add(MaxLife)}); err != nil {
		return err
	}
	type row struct{ id, proofs string }
	all, err := db.All(ctx, tx, `SELECT id, proofs FROM passes WHERE NOT by_operator`, nil,
		func(scan db.Scan) (r row, err error) { return r, scan(&r.id, &r.proofs) })
	if err != nil {
		return fmt.Errorf("read the proofs of passes: %w", err)
	}
	for _, r := range all {
		proofs, err := authenticator.ParseProofs(r.proofs)
		if err != nil {
			continue // a pass that can't be read isn't valid
		}
		dated := authenticator.EncodeProofs(datedAsOld(proofs, latest))
		if dated == r.proofs {
			continue
		}
		if _, err := db.Exec(ctx, tx, `UPDATE passes SET proofs = $2 WHERE id = $1`, r.id, dated); err != nil {
			return fmt.Errorf("date the proofs of a pass: %w", err)
		}
	}
	return nil
}

// datedAsOld returns the proofs with every time that is later than latest replaced by the epoch,
// since the real time is unknown. Such a proof still counts towards a level, but never as recent.
// Otherwise it would be fresh again when the right clock reaches its time.
func datedAsOld(proofs []authenticator.Proof, latest time.Time) []authenticator.Proof {
	dated := slices.Clone(proofs)
	for i := range dated {
		if dated[i].At.After(latest) {
			dated[i].At = time.UnixMilli(0)
		}
	}
	return dated
}
