// Package backupcode owns backup codes (SP 800-63B, "Look-Up Secrets"), table
// backup_codes: ten of 60 bits, each good for one sign-in without the phone.
// They exist only while another authenticator does; login sees to that (R10).
package backupcode

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// Count of codes in a set.
	Count = 10

	symbols   = 12 // of 5 bits each
	group     = 4
	saltBytes = 16

	// maxTyped bounds what is normalised: a code with a sign after each
	// symbol and some to spare.
	maxTyped = 64
)

// alphabet is Crockford's base32: no I, L, O or U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// Errors of this package.
var (
	// ErrMalformed: what was typed isn't twelve symbols of a backup code.
	ErrMalformed = errors.New("not a backup code")
	// ErrUsed: another request used the code first.
	ErrUsed = errors.New("backup code was used already")
)

// Normalize returns the one form of what was typed that is hashed: upper
// case, without dashes and spaces, O read as 0, I and L as 1. Anything that
// isn't twelve symbols then is [ErrMalformed].
func Normalize(typed string) (string, error) {
	if len(typed) > maxTyped {
		return "", ErrMalformed
	}
	code := strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == ' ':
			return -1
		case 'a' <= r && r <= 'z':
			r -= 'a' - 'A'
		}
		switch r {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		}
		return r
	}, typed)
	if len(code) != symbols || strings.Trim(code, alphabet) != "" {
		return "", ErrMalformed
	}
	return code, nil
}

// Set is a new set of codes, hashed but not stored yet.
type Set struct {
	Codes  []string // XXXX-XXXX-XXXX, to be shown once
	params secret.Argon2id
	salt   []byte
	hashes [][]byte
}

// NewSet makes a set. It takes ten password hashes: hold a slot, and no
// transaction.
func NewSet(p secret.Argon2id) Set {
	set := Set{params: p, salt: make([]byte, saltBytes)}
	rand.Read(set.salt)
	for range Count {
		var random [symbols]byte
		rand.Read(random[:])
		for i := range random {
			random[i] = alphabet[random[i]%32] // 256 is a multiple of 32: no symbol is likelier
		}
		code := string(random[:])
		set.hashes = append(set.hashes, p.Key(code, set.salt))
		set.Codes = append(set.Codes, code[:group]+"-"+code[group:2*group]+"-"+code[2*group:])
	}
	return set
}

func place(accountID, id string) secret.Place {
	return secret.Place{Table: "backup_codes", Column: "hash", Row: accountID + "/" + id}
}

// Issue stores the set in place of the account's codes so far, used or not.
func Issue(ctx context.Context, tx *db.Tx, ring *secret.Ring, accountID string, set Set, now time.Time) error {
	if err := RemoveAll(ctx, tx, accountID); err != nil {
		return err
	}
	for _, hash := range set.hashes {
		id := secret.NewID()
		_, err := db.Exec(ctx, tx, `
			INSERT INTO backup_codes (id, account_id, salt, memory_kib, iterations, hash, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			id, accountID, set.salt, int64(set.params.MemoryKiB), int64(set.params.Iterations), ring.Seal(place(accountID, id), hash), db.At{Time: now})
		if err != nil {
			return fmt.Errorf("store backup codes: %w", err)
		}
	}
	return nil
}

// RemoveAll deletes the account's codes.
func RemoveAll(ctx context.Context, tx *db.Tx, accountID string) error {
	if _, err := db.Exec(ctx, tx, `DELETE FROM backup_codes WHERE account_id = $1`, accountID); err != nil {
		return fmt.Errorf("remove backup codes: %w", err)
	}
	return nil
}

// SetID names the account's set of codes, or "" where it has none. It is no
// secret.
func SetID(ctx context.Context, q db.Querier, accountID string) (string, error) {
	var id string
	err := db.One(ctx, q, `SELECT COALESCE(MIN(id), '') FROM backup_codes WHERE account_id = $1`, []any{accountID}, &id)
	return id, err
}

// Left returns how many codes of the account are unused.
func Left(ctx context.Context, q db.Querier, accountID string) (int, error) {
	var n int
	err := db.One(ctx, q, `SELECT COUNT(*) FROM backup_codes WHERE account_id = $1 AND used_at IS NULL`, []any{accountID}, &n)
	return n, err
}

// Match returns the id of the account's unused code that is equal to code, a
// normalised one, or "" where none is. It takes one password hash, whatever
// the account has: hold a slot. Only the typed text is ever hashed, so a
// stored value typed in is one more wrong code (R9, R11).
func Match(ctx context.Context, q db.Querier, ring *secret.Ring, p secret.Argon2id, accountID, code string) (string, error) {
	type stored struct {
		id         string
		salt, hash []byte
		params     secret.Argon2id
	}
	all, err := db.All(ctx, q, func(scan db.Scan) (s stored, err error) {
		return s, scan(&s.id, &s.salt, &s.params.MemoryKiB, &s.params.Iterations, &s.hash)
	}, `SELECT id, salt, memory_kib, iterations, hash FROM backup_codes WHERE account_id = $1 AND used_at IS NULL`, accountID)
	if err != nil {
		return "", fmt.Errorf("read backup codes: %w", err)
	}
	// A set has one salt and one cost, so one hash serves all of it.
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

// Redeem uses the code up. Of many callers, on any number of nodes, one
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

// Sealed returns the next sealed codes after that row, at most
// [secret.SealedBatch], by id, used ones too; none at the end.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	return db.All(ctx, q, func(scan db.Scan) (s secret.Sealed, err error) {
		var accountID string
		err = scan(&s.ID, &accountID, &s.Bytes)
		s.Place = place(accountID, s.ID)
		return s, err
	}, `SELECT id, account_id, hash FROM backup_codes WHERE id > $1 ORDER BY id LIMIT $2`, after, secret.SealedBatch)
}

// Reseal stores the same code sealed anew, and reports whether it did: not
// where the row has changed since it was read.
func Reseal(ctx context.Context, tx *db.Tx, was secret.Sealed, anew []byte) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE backup_codes SET hash = $3 WHERE id = $1 AND hash = $2`, was.ID, was.Bytes, anew)
	return n == 1, err
}

// EndAll deletes the codes of every account: the database came out of a
// backup, and has forgotten which were used since (F13).
func EndAll(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM backup_codes`)
	return err
}
