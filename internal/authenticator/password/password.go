// Package password owns the password of each account, table passwords: an
// Argon2id hash (RFC 9106), sealed under the key ring, so that a copy of the
// database alone verifies nothing.
//
// Its functions that hash hold a core and some 19 MiB for tens of
// milliseconds: callers hold a slot of throttle.Queue.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	saltBytes = 16 // RFC 9106, section 3.1

	// MaxRunes of a password. SP 800-63B asks for 64 at least; a limit keeps
	// the work of PRECIS bounded. Nothing is cut off.
	MaxRunes = 256

	// maxBytes is more than MaxRunes characters take in any script, decomposed
	// ones too; longer input isn't even normalised.
	maxBytes = 16 * MaxRunes
)

// Reasons to refuse a new password.
var (
	ErrShort   = errors.New("password is too short")
	ErrLong    = errors.New("password is too long")
	ErrInvalid = errors.New("password contains characters that can't be typed on every keyboard")
	ErrCommon  = errors.New("password is easy to guess")
)

// CommonError is [ErrCommon] with what makes the password so.
type CommonError struct{ Reason Reason }

// Error is that of [ErrCommon]: what a password is like stays out of logs.
func (e *CommonError) Error() string { return ErrCommon.Error() }

// Unwrap returns [ErrCommon].
func (e *CommonError) Unwrap() error { return ErrCommon }

// Check returns why typed can't become a password: [ErrShort] under minRunes
// characters, [ErrLong] over [MaxRunes], [ErrInvalid] for control characters
// and broken text, a [*CommonError] for one that is guessed early, or nil.
// Characters are code points after normalisation. words are what everybody
// knows of the account and the site.
func Check(typed string, minRunes int, words ...string) error {
	if len(typed) > maxBytes {
		return ErrLong
	}
	if typed == "" {
		return ErrShort
	}
	prepared, err := prepare(typed)
	if err != nil {
		return ErrInvalid
	}
	switch n := utf8.RuneCountInString(prepared); {
	case n < minRunes:
		return ErrShort
	case n > MaxRunes:
		return ErrLong
	}
	if reason := guessable(prepared, words); reason != "" {
		return &CommonError{reason}
	}
	return nil
}

// prepare brings typed into the form that is hashed: PRECIS OpaqueString (RFC
// 8265, section 4.2), so that one password typed on two keyboards is the same
// (NFC or NFD, kinds of spaces), and nothing else is.
func prepare(typed string) (string, error) {
	if len(typed) > maxBytes || !utf8.ValidString(typed) {
		return "", ErrInvalid
	}
	return precis.OpaqueString.String(typed)
}

// Hash returns the PHC string of a password that passed [Check].
func Hash(p secret.Argon2id, typed string) (secret.Text, error) {
	prepared, err := prepare(typed)
	if err != nil {
		return secret.Text{}, ErrInvalid
	}
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	return secret.NewText(phc(p, salt, p.Key(prepared, salt))), nil
}

func phc(p secret.Argon2id, salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, p.MemoryKiB, p.Iterations, b64.EncodeToString(salt), b64.EncodeToString(hash))
}

// parsePHC reads what phc wrote, and nothing else.
func parsePHC(text string) (p secret.Argon2id, salt, hash []byte, err error) {
	bad := errors.New("stored password hash is not an Argon2id PHC string")
	fields := strings.Split(text, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return p, nil, nil, bad
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=1", &p.MemoryKiB, &p.Iterations); err != nil {
		return p, nil, nil, bad
	}
	if !p.Sound() {
		return p, nil, nil, bad
	}
	b64 := base64.RawStdEncoding.Strict()
	if salt, err = b64.DecodeString(fields[4]); err != nil || len(salt) < 8 {
		return p, nil, nil, bad
	}
	if hash, err = b64.DecodeString(fields[5]); err != nil || len(hash) != secret.Argon2HashBytes {
		return p, nil, nil, bad
	}
	if phc(p, salt, hash) != text {
		return p, nil, nil, bad
	}
	return p, salt, hash, nil
}

// Outcome of [Verify].
type Outcome struct {
	Match   bool
	Weak    bool      // it matched, and was hashed at a lower cost: store a new hash
	Suspect time.Time // since when the password is known to somebody else; zero: it isn't
}

// Verify compares typed with the account's password. An account without one, or an
// id that no account has, takes the work of some account that has one, the same each
// time, and never matches (R27). So a cost that was raised tells nobody which names
// exist: of unknown names as many take the old cost as of accounts. An error is no
// verdict: deny (F4).
func Verify(ctx context.Context, q db.Querier, ring *secret.Ring, p secret.Argon2id, accountID, typed string) (Outcome, error) {
	known, suspect, stored, salt, want, err := work(ctx, q, ring, p, accountID)
	if err != nil {
		return Outcome{}, err
	}
	prepared, err := prepare(typed)
	usable := err == nil
	match := subtle.ConstantTimeCompare(stored.Key(prepared, salt), want) == 1
	if !match || !known || !usable {
		return Outcome{}, nil
	}
	return Outcome{
		Match:   true,
		Weak:    stored.MemoryKiB < p.MemoryKiB || stored.Iterations < p.Iterations,
		Suspect: suspect,
	}, nil
}

// work returns what one verification hashes with, and holds against: of the account's
// password or, where it has none (known is false), of the one that stands next.
func work(ctx context.Context, q db.Querier, ring *secret.Ring, p secret.Argon2id, accountID string) (
	known bool, suspect time.Time, cost secret.Argon2id, salt, want []byte, err error) {
	var (
		id     string
		sealed []byte
		at     db.At
	)
	// One statement, so that a name past the last id takes no longer than others.
	err = db.One(ctx, q, `
		SELECT account_id, phc, suspect_at FROM passwords WHERE account_id = COALESCE(
			(SELECT MIN(account_id) FROM passwords WHERE account_id >= $1), (SELECT MIN(account_id) FROM passwords))`,
		[]any{accountID}, &id, &sealed, &at)
	nobody := func() (bool, time.Time, secret.Argon2id, []byte, []byte, error) {
		return false, time.Time{}, p, make([]byte, saltBytes), make([]byte, secret.Argon2HashBytes), nil
	}
	if errors.Is(err, db.ErrNotFound) {
		return nobody() // there is no password at all
	}
	if err != nil {
		return false, time.Time{}, p, nil, nil, fmt.Errorf("read password: %w", err)
	}
	known = id == accountID
	text, err := ring.Open(place(id), sealed)
	if err == nil {
		cost, salt, want, err = parsePHC(string(text))
	}
	switch {
	case err != nil && known:
		return false, time.Time{}, p, nil, nil, fmt.Errorf("password of account %s: %w", id, err)
	case err != nil:
		return nobody() // another account's row is broken: that isn't this one's fault
	}
	return known, at.Time, cost, salt, want, nil
}

func place(accountID string) secret.Place {
	return secret.Place{Table: "passwords", Column: "phc", Row: accountID}
}

// Set stores the account's password hash and clears a suspicion.
func Set(ctx context.Context, tx *db.Tx, ring *secret.Ring, accountID string, phc secret.Text, now time.Time) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO passwords (account_id, phc, changed_at) VALUES ($1, $2, $3)
		ON CONFLICT (account_id) DO UPDATE SET phc = $2, changed_at = $3, suspect_at = NULL`,
		accountID, ring.Seal(place(accountID), []byte(phc.Reveal())), db.At{Time: now})
	if err != nil {
		return fmt.Errorf("store password: %w", err)
	}
	return nil
}

// Rehash stores the same password hashed at a higher cost.
func Rehash(ctx context.Context, tx *db.Tx, ring *secret.Ring, accountID string, phc secret.Text) error {
	_, err := db.Exec(ctx, tx, `UPDATE passwords SET phc = $2 WHERE account_id = $1`, accountID, ring.Seal(place(accountID), []byte(phc.Reveal())))
	return err
}

// ChangedAt returns when the account's password was last set, or the zero
// time where it has none.
func ChangedAt(ctx context.Context, q db.Querier, accountID string) (time.Time, error) {
	var changed db.At
	err := db.One(ctx, q, `SELECT changed_at FROM passwords WHERE account_id = $1`, []any{accountID}, &changed)
	if errors.Is(err, db.ErrNotFound) {
		return time.Time{}, nil
	}
	return changed.Time, err
}

// BringBack moves the times of passwords that a clock which was ahead set after latest to
// it: wrong codes are signs of a stolen password only if they are later.
func BringBack(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `UPDATE passwords SET changed_at = $1 WHERE changed_at > $1`, db.At{Time: latest})
	if err != nil {
		return fmt.Errorf("bring times of passwords back: %w", err)
	}
	return nil
}

// CheckRing opens one password, any, and returns an error where the ring can't:
// it isn't the ring that this database was written with.
func CheckRing(ctx context.Context, q db.Querier, ring *secret.Ring) error {
	var (
		id     string
		sealed []byte
	)
	err := db.One(ctx, q, `SELECT account_id, phc FROM passwords ORDER BY account_id LIMIT 1`, nil, &id, &sealed)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = ring.Open(place(id), sealed)
	return err
}

// SuspectSince returns since when the account's password is known to somebody
// else, or the zero time.
func SuspectSince(ctx context.Context, q db.Querier, accountID string) (time.Time, error) {
	var suspect db.At
	err := db.One(ctx, q, `SELECT suspect_at FROM passwords WHERE account_id = $1`, []any{accountID}, &suspect)
	if errors.Is(err, db.ErrNotFound) {
		return time.Time{}, nil
	}
	return suspect.Time, err
}

// MarkSuspect notes that somebody else knows the account's password, and
// reports whether that is news.
func MarkSuspect(ctx context.Context, tx *db.Tx, accountID string, now time.Time) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE passwords SET suspect_at = $2 WHERE account_id = $1 AND suspect_at IS NULL`, accountID, db.At{Time: now})
	return n == 1, err
}

// EndSuspect takes the mark of a suspect password away, for a caller that sets a new
// one in the same transaction, and reports whether it was there: of many callers
// one gets true.
func EndSuspect(ctx context.Context, tx *db.Tx, accountID string) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE passwords SET suspect_at = NULL WHERE account_id = $1 AND suspect_at IS NOT NULL`, accountID)
	return n == 1, err
}

// Sealed returns the next sealed passwords after that row, at most
// [secret.SealedBatch], by id; none at the end.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	return db.All(ctx, q, func(scan db.Scan) (s secret.Sealed, err error) {
		err = scan(&s.ID, &s.Bytes)
		s.Place = place(s.ID)
		return s, err
	}, `SELECT account_id, phc FROM passwords WHERE account_id > $1 ORDER BY account_id LIMIT $2`, after, secret.SealedBatch)
}

// Reseal stores the same password sealed anew, and reports whether it did: not
// where the row has changed since it was read.
func Reseal(ctx context.Context, tx *db.Tx, was secret.Sealed, anew []byte) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE passwords SET phc = $3 WHERE account_id = $1 AND phc = $2`, was.ID, was.Bytes, anew)
	return n == 1, err
}

// Owners returns the ids of all accounts that have a password, in one statement.
func Owners(ctx context.Context, q db.Querier) (map[string]bool, error) {
	all, err := db.All(ctx, q, func(scan db.Scan) (id string, err error) {
		return id, scan(&id)
	}, `SELECT account_id FROM passwords`)
	if err != nil {
		return nil, fmt.Errorf("list accounts with passwords: %w", err)
	}
	owners := make(map[string]bool, len(all))
	for _, id := range all {
		owners[id] = true
	}
	return owners, nil
}
