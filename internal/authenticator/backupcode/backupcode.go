// Package backupcode owns backup codes (SP 800-63B, "Look-Up Secrets") and the table
// backup_codes. A set has ten codes of 60 bits, each good for one sign-in without the phone.
// Codes exist only while the account has another authenticator; package login ensures that
// (R10).
package backupcode

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// Count is the number of codes in a set.
	Count = 10

	symbols   = 12 // of 5 bits each
	group     = 4
	saltBytes = 16
)

// Errors of this package.
var (
	// ErrMalformed means that the text isn't twelve symbols of a backup code.
	ErrMalformed = errors.New("not a backup code")
	// ErrUsed means that the code is used, possibly by a concurrent request.
	ErrUsed = errors.New("backup code was used already")
)

// Normalize returns the typed code in the form that is hashed, as [secret.NormalizeTyped] does. Any
// other text is [ErrMalformed].
func Normalize(typed string) (string, error) {
	code, ok := secret.NormalizeTyped(typed, symbols)
	if !ok {
		return "", ErrMalformed
	}
	return code, nil
}

// Set is a new set of codes with their hashes, not stored yet.
type Set struct {
	Codes  []string // in the form XXXX-XXXX-XXXX, to be shown once
	params secret.Argon2id
	salt   []byte
	ids    []string // a row's id for each code; each of them identifies the set
	hashes [][]byte
}

// ID returns an id of the set for [Confirm]. It isn't secret.
func (s Set) ID() string { return s.ids[0] }

// NewSet returns a new random set. It computes ten password hashes, so the caller should hold
// a hashing slot and must not be in a transaction.
func NewSet(p secret.Argon2id) Set {
	set := Set{params: p, salt: make([]byte, saltBytes)}
	rand.Read(set.salt)
	for range Count {
		code := secret.NewTyped(symbols)
		set.ids = append(set.ids, secret.NewID())
		set.hashes = append(set.hashes, p.Key(code, set.salt))
		set.Codes = append(set.Codes, code[:group]+"-"+code[group:2*group]+"-"+code[2*group:])
	}
	return set
}

func place(accountID, id string) secret.Place {
	return secret.Place{Table: "backup_codes", Column: "hash", Row: accountID + "/" + id}
}

// Issue stores the set and deletes the account's earlier codes, used or not. The owner
// confirms with [Confirm] that the new codes are saved.
func Issue(ctx context.Context, tx *db.Tx, ring *secret.Ring, accountID string, set Set, now time.Time) error {
	if err := RemoveAll(ctx, tx, accountID); err != nil {
		return err
	}
	for i, hash := range set.hashes {
		id := set.ids[i]
		_, err := db.Exec(ctx, tx, `
			INSERT INTO backup_codes (id, account_id, salt, memory_kib, iterations, hash, created_at, unconfirmed)
			VALUES ($1, $2, $3, $4, $5, $6, $7, TRUE)`,
			id, accountID, set.salt, int64(set.params.MemoryKiB), int64(set.params.Iterations), ring.Seal(place(accountID, id), hash), db.At{Time: now})
		if err != nil {
			return fmt.Errorf("store backup codes: %w", err)
		}
	}
	return nil
}

// RemoveAll deletes all of the account's codes.
func RemoveAll(ctx context.Context, tx *db.Tx, accountID string) error {
	if _, err := db.Exec(ctx, tx, `DELETE FROM backup_codes WHERE account_id = $1`, accountID); err != nil {
		return fmt.Errorf("remove backup codes: %w", err)
	}
	return nil
}

// Current returns the id of the account's set of codes, or "" if it has no set, and whether the
// owner has confirmed that the codes are saved. The id isn't secret.
func Current(ctx context.Context, q db.Querier, accountID string) (id string, confirmed bool, err error) {
	var unconfirmed int
	err = db.One(ctx, q, `
		SELECT COALESCE(MIN(id), ''), COUNT(CASE WHEN unconfirmed THEN 1 END)
		FROM   backup_codes WHERE account_id = $1`, []any{accountID}, &id, &unconfirmed)
	return id, unconfirmed == 0, err
}

// Confirm records that the owner has saved the codes of the set with that id. If another set has
// replaced it, Confirm has no effect.
func Confirm(ctx context.Context, tx *db.Tx, accountID, id string) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE backup_codes SET unconfirmed = FALSE
		WHERE  account_id = $1 AND unconfirmed AND EXISTS (SELECT 1 FROM backup_codes WHERE account_id = $1 AND id = $2)`, accountID, id)
	if err != nil {
		return fmt.Errorf("confirm backup codes: %w", err)
	}
	return nil
}

// Left returns the number of the account's unused codes.
func Left(ctx context.Context, q db.Querier, accountID string) (int, error) {
	var n int
	err := db.One(ctx, q, `SELECT COUNT(*) FROM backup_codes WHERE account_id = $1 AND used_at IS NULL`, []any{accountID}, &n)
	return n, err
}

// Match returns the id of the account's unused code that equals the normalized code, or "" if no
// code does. It always computes one password hash, so the caller should hold a hashing slot. It
// hashes the typed text and compares the hashes, so a person who types a value from the database
// types a wrong code (R9, R11).
func Match(ctx context.Context, q db.Querier, ring *secret.Ring, p secret.Argon2id, accountID, code string) (string, error) {
	type stored struct {
		id         string
		salt, hash []byte
		params     secret.Argon2id
	}
	all, err := db.All(ctx, q, `SELECT id, salt, memory_kib, iterations, hash FROM backup_codes WHERE account_id = $1 AND used_at IS NULL`,
		[]any{accountID}, func(scan db.Scan) (s stored, err error) {
			return s, scan(&s.id, &s.salt, &s.params.MemoryKiB, &s.params.Iterations, &s.hash)
		})
	if err != nil {
		return "", fmt.Errorf("read backup codes: %w", err)
	}
	// All codes of a set share salt and cost, so one hash suffices.
	set := stored{salt: make([]byte, saltBytes), params: p}
	if len(all) > 0 {
		set = all[0]
	}
	if !set.params.Sound() {
		return "", errors.New("stored backup codes ask for an unknown hash")
	}
	typed := set.params.Key(code, set.salt)
	match := ""
	for _, s := range all {
		hash, err := ring.Open(place(accountID, s.id), s.hash)
		if err != nil {
			return "", fmt.Errorf("backup code %s: %w", s.id, err)
		}
		if subtle.ConstantTimeCompare(hash, typed) == 1 {
			match = s.id
		}
	}
	return match, nil
}

// Redeem marks the code as used. Of several concurrent callers, on any number of nodes, one
// succeeds; the others get [ErrUsed].
func Redeem(ctx context.Context, tx *db.Tx, accountID, id string, now time.Time) error {
	n, err := db.Exec(ctx, tx, `UPDATE backup_codes SET used_at = $3 WHERE id = $1 AND account_id = $2 AND used_at IS NULL`, id, accountID, db.At{Time: now})
	if err != nil {
		return fmt.Errorf("use backup code: %w", err)
	}
	if n == 0 {
		return ErrUsed
	}
	return nil
}

// Sealed returns the sealed codes of all accounts, including used ones, in the order of ids and
// starting after the given id. It returns at most [secret.SealedBatch] of them, and none once the
// given id is the last one.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	return db.All(ctx, q, `SELECT id, account_id, hash FROM backup_codes WHERE id > $1 ORDER BY id LIMIT $2`,
		[]any{after, secret.SealedBatch}, func(scan db.Scan) (s secret.Sealed, err error) {
			var accountID string
			err = scan(&s.ID, &accountID, &s.Bytes)
			s.Place = place(accountID, s.ID)
			return s, err
		})
}

// Reseal replaces the sealed bytes of a code by the bytes in resealed, the same code sealed under
// another key. If the row has changed since old was read, Reseal leaves the row as it is and
// reports false.
func Reseal(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE backup_codes SET hash = $3 WHERE id = $1 AND hash = $2`, old.ID, old.Bytes, resealed)
	return n == 1, err
}

// Purge deletes all codes of all accounts, after the database was restored from a backup:
// some of them may have been used since it was made (F13).
func Purge(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM backup_codes`)
	return err
}
