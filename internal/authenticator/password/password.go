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

	// MaxRunes is the maximum length of a password in code points. SP 800-63B requires at
	// least 64. The limit bounds the work of PRECIS; a longer password is refused, not cut.
	MaxRunes = 256

	// maxBytes exceeds the size of MaxRunes characters in any script, even decomposed.
	// Longer input is refused before it is normalized.
	maxBytes = 16 * MaxRunes
)

// Reasons why a new password is refused.
var (
	ErrShort   = errors.New("password is too short")
	ErrLong    = errors.New("password is too long")
	ErrInvalid = errors.New("password contains characters that can't be typed on every keyboard")
	ErrCommon  = errors.New("password is easy to guess")
)

// CommonError is [ErrCommon] with the reason.
type CommonError struct{ Reason Reason }

// Error returns the text of [ErrCommon], so that logs don't describe the password.
func (e *CommonError) Error() string { return ErrCommon.Error() }

// Unwrap returns [ErrCommon].
func (e *CommonError) Unwrap() error { return ErrCommon }

// Check returns why typed can't become a password, or nil: [ErrShort] under minRunes
// characters, [ErrLong] over [MaxRunes], [ErrInvalid] for control characters and invalid
// UTF-8, a [*CommonError] if it is easy to guess. Characters are code points after
// normalization. words are publicly known words about the account and the site.
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
	if reason := guessableReason(prepared, words); reason != "" {
		return &CommonError{reason}
	}
	return nil
}

// prepare returns typed in the form that is hashed: PRECIS OpaqueString (RFC 8265, section
// 4.2). It makes a password equal on two keyboards (NFC or NFD, kinds of spaces), and makes
// no other passwords equal.
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

// parsePHC parses the output of phc. Any other text is an error.
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

// Outcome is the result of [Verify].
type Outcome struct {
	Match   bool
	Weak    bool      // matched, but the stored hash has a lower cost: the caller should store a new one
	Suspect time.Time // since when another person is assumed to know the password; zero if not suspect

	sealed string // the stored bytes that were compared, after a match
}

// Verify compares typed with the account's password. If the account has no password or doesn't
// exist, Verify does the work for another account's password, always the same one, and never
// matches (R27). So the time doesn't reveal which names exist, even after the cost was raised:
// the share of unknown names that take the time of the old cost equals the share of accounts with
// a hash of that cost. After an error the caller must deny (F4).
func Verify(ctx context.Context, q db.Querier, ring *secret.Ring, p secret.Argon2id, accountID, typed string) (Outcome, error) {
	known, suspect, sealed, stored, salt, want, err := loadForVerify(ctx, q, ring, p, accountID)
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
		sealed:  string(sealed),
	}, nil
}

// loadForVerify returns the hash and parameters to verify with. They are those of the account's
// password. If the account has no password, known is false, and they are those of the next account
// that has one.
func loadForVerify(ctx context.Context, q db.Querier, ring *secret.Ring, p secret.Argon2id, accountID string) (
	known bool, suspect time.Time, sealed []byte, cost secret.Argon2id, salt, want []byte, err error) {
	var (
		id string
		at db.At
	)
	// One statement, so that an id past the last one takes no longer.
	err = db.One(ctx, q, `
		SELECT account_id, phc, suspect_at FROM passwords WHERE account_id = COALESCE(
			(SELECT MIN(account_id) FROM passwords WHERE account_id >= $1), (SELECT MIN(account_id) FROM passwords))`,
		[]any{accountID}, &id, &sealed, &at)
	noPassword := func() (bool, time.Time, []byte, secret.Argon2id, []byte, []byte, error) {
		return false, time.Time{}, nil, p, make([]byte, saltBytes), make([]byte, secret.Argon2HashBytes), nil
	}
	if errors.Is(err, db.ErrNotFound) {
		return noPassword() // the table is empty
	}
	if err != nil {
		return false, time.Time{}, nil, p, nil, nil, fmt.Errorf("read password: %w", err)
	}
	known = id == accountID
	text, err := ring.Open(place(id), sealed)
	if err == nil {
		cost, salt, want, err = parsePHC(string(text))
	}
	switch {
	case err != nil && known:
		return false, time.Time{}, nil, p, nil, nil, fmt.Errorf("password of account %s: %w", id, err)
	case err != nil:
		return noPassword() // another account's broken row must not fail this account's sign-in
	}
	return known, at.Time, sealed, cost, salt, want, nil
}

func place(accountID string) secret.Place {
	return secret.Place{Table: "passwords", Column: "phc", Row: accountID}
}

// Set stores the account's password hash and clears its suspect mark.
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

// Rehash stores the same password hashed at a higher cost. match is the result of the [Verify]
// that matched. If the password was changed or sealed again since, Rehash has no effect: the hash
// may be that of an earlier password.
func Rehash(ctx context.Context, tx *db.Tx, ring *secret.Ring, accountID string, match Outcome, phc secret.Text) error {
	_, err := db.Exec(ctx, tx, `UPDATE passwords SET phc = $3 WHERE account_id = $1 AND phc = $2`, accountID, []byte(match.sealed), ring.Seal(place(accountID), []byte(phc.Reveal())))
	return err
}

// ChangedAt returns when the account's password was last set, or the zero time if it has no
// password.
func ChangedAt(ctx context.Context, q db.Querier, accountID string) (time.Time, error) {
	var changed db.At
	err := db.One(ctx, q, `SELECT changed_at FROM passwords WHERE account_id = $1`, []any{accountID}, &changed)
	if errors.Is(err, db.ErrNotFound) {
		return time.Time{}, nil
	}
	return changed.Time, err
}

// ClampTimes lowers the times of password changes to latest if they are later, since the clock was
// ahead when they were stored. Otherwise later wrong codes would not make the password suspect.
func ClampTimes(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `UPDATE passwords SET changed_at = $1 WHERE changed_at > $1`, db.At{Time: latest})
	if err != nil {
		return fmt.Errorf("correct times of passwords: %w", err)
	}
	return nil
}

// CheckRing opens one stored password and returns an error if the key ring can't, which means
// that the database was written with another ring.
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

// SuspectSince returns since when the account's password is suspect, which means that another
// person is assumed to know it. It returns the zero time if the password isn't suspect.
func SuspectSince(ctx context.Context, q db.Querier, accountID string) (time.Time, error) {
	var suspect db.At
	err := db.One(ctx, q, `SELECT suspect_at FROM passwords WHERE account_id = $1`, []any{accountID}, &suspect)
	if errors.Is(err, db.ErrNotFound) {
		return time.Time{}, nil
	}
	return suspect.Time, err
}

// MarkSuspect marks the account's password as suspect. It reports whether it wasn't marked
// before.
func MarkSuspect(ctx context.Context, tx *db.Tx, accountID string, now time.Time) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE passwords SET suspect_at = $2 WHERE account_id = $1 AND suspect_at IS NULL`, accountID, db.At{Time: now})
	return n == 1, err
}

// ClearSuspect removes the mark of a suspect password, for a caller that sets a new password in
// the same transaction. It reports whether the mark was there; of several concurrent callers
// one gets true.
func ClearSuspect(ctx context.Context, tx *db.Tx, accountID string) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE passwords SET suspect_at = NULL WHERE account_id = $1 AND suspect_at IS NOT NULL`, accountID)
	return n == 1, err
}

// Sealed returns the sealed passwords of all accounts in the order of account ids, starting after
// the given id. It returns at most [secret.SealedBatch] of them, and none once the given id is
// the last one.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	return db.All(ctx, q, `SELECT account_id, phc FROM passwords WHERE account_id > $1 ORDER BY account_id LIMIT $2`,
		[]any{after, secret.SealedBatch}, func(scan db.Scan) (s secret.Sealed, err error) {
			err = scan(&s.ID, &s.Bytes)
			s.Place = place(s.ID)
			return s, err
		})
}

// Reseal replaces the sealed bytes of a password by the bytes in resealed, the same password
// sealed under another key. If the row has changed since old was read, Reseal leaves the row as
// it is and reports false.
func Reseal(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE passwords SET phc = $3 WHERE account_id = $1 AND phc = $2`, old.ID, old.Bytes, resealed)
	return n == 1, err
}

// Owners returns the ids of all accounts that have a password, in one statement.
func Owners(ctx context.Context, q db.Querier) (map[string]bool, error) {
	return owners(ctx, q, `SELECT account_id FROM passwords`, nil)
}

// OwnersAmong returns which of the accounts with these ids have a password.
func OwnersAmong(ctx context.Context, q db.Querier, accountIDs []string) (map[string]bool, error) {
	list, args := db.In(accountIDs, 1)
	return owners(ctx, q, `SELECT account_id FROM passwords WHERE account_id IN `+list, args)
}

func owners(ctx context.Context, q db.Querier, query string, args []any) (map[string]bool, error) {
	all, err := db.All(ctx, q, query, args, func(scan db.Scan) (id string, err error) {
		return id, scan(&id)
	})
	if err != nil {
		return nil, fmt.Errorf("list accounts with passwords: %w", err)
	}
	owners := make(map[string]bool, len(all))
	for _, id := range all {
		owners[id] = true
	}
	return owners, nil
}
