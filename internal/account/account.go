// Package account owns the accounts, their groups and the one-time links
// (tickets) that are sent to a person: tables accounts, groups, members and
// tickets. How an account proves itself is the authenticators' business.
package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/label"
	"github.com/sallyport/sallyport/internal/secret"
)

// Role is what an account may do in Sallyport itself.
type Role string

// The roles. An unknown one is refused when it is read (F3).
const (
	Member   Role = "member"
	Operator Role = "operator"
)

// Account is whom we know. Its zero value is nobody.
type Account struct {
	ID          string
	Name        string // unique, lower case, no "@"
	Email       string // as typed; unique without regard to case; may be empty
	DisplayName string // may be empty
	Locale      string // BCP 47; empty: the browser's
	Role        Role
	CreatedAt   time.Time
	DisabledAt  time.Time // zero: enabled
	TwoFactorAt time.Time // since when two-factor authentication is on without a break; zero: it is off

	// Stamp changes with every change of how the account signs in. What was
	// made under another stamp (sessions, attempts) is dead (R17).
	Stamp string

	// EnrollLocked is set when an operator removed the account's
	// authenticators: the next is enrolled only through a one-time link (F15).
	EnrollLocked bool
}

// Called returns what to call the person.
func (a Account) Called() string {
	if a.DisplayName != "" {
		return a.DisplayName
	}
	return a.Name
}

// Disabled reports whether the account may not sign in.
func (a Account) Disabled() bool { return !a.DisabledAt.IsZero() }

// What a name and the rest may be. Longer ones are nobody's and would burst a
// QR code, a header or a page.
const (
	maxNameRunes  = 64
	maxNameBytes  = 128
	maxEmailBytes = 254 // RFC 5321, section 4.5.3.1.3

	// MaxDisplayNameRunes bounds a display name, in code points.
	MaxDisplayNameRunes = 80
)

// Errors for whoever names an account.
var (
	ErrNameInvalid        = errors.New("name is not usable: use 1 to 64 letters, digits or symbols, with at least one letter or digit, no spaces, no @, and no dash in front")
	ErrNameTaken          = errors.New("name is taken")
	ErrEmailInvalid       = errors.New("e-mail address is not usable")
	ErrEmailTaken         = errors.New("e-mail address is taken")
	ErrDisplayNameInvalid = errors.New("display name is not usable: use at most 80 printable characters")
)

// NormalizeName returns the one form of name that is stored and looked up:
// PRECIS UsernameCaseMapped (RFC 8265, section 3.3), without "@", so that a
// name is never an e-mail address. It returns [ErrNameInvalid].
func NormalizeName(name string) (string, error) {
	if len(name) > 4*maxNameBytes {
		return "", ErrNameInvalid
	}
	mapped, err := precis.UsernameCaseMapped.String(strings.TrimSpace(name))
	if err != nil || mapped == "" || strings.Contains(mapped, "@") ||
		len(mapped) > maxNameBytes || utf8.RuneCountInString(mapped) > maxNameRunes {
		return "", ErrNameInvalid
	}
	return mapped, nil
}

// NormalizeEmail returns the address as it is kept and the folded form that
// must be unique and is looked up. Empty gives empty. It checks only what
// keeps an address harmless in mail, header and page; only a mail that arrives
// proves one.
func NormalizeEmail(email string) (kept, folded string, err error) {
	kept = norm.NFC.String(strings.TrimSpace(email))
	if kept == "" {
		return "", "", nil
	}
	local, domain, found := strings.Cut(kept, "@")
	if !found || local == "" || domain == "" || strings.Contains(domain, "@") || len(kept) > maxEmailBytes || !utf8.ValidString(kept) {
		return "", "", ErrEmailInvalid
	}
	for _, r := range kept {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune(`<>,;:"\()[]`, r) {
			return "", "", ErrEmailInvalid
		}
	}
	return kept, strings.ToLower(kept), nil
}

// NormalizeDisplayName returns name as [label.Normalize] does, or [ErrDisplayNameInvalid]
// with its reason. Empty is allowed.
func NormalizeDisplayName(name string) (string, error) {
	name, err := label.Normalize(name, MaxDisplayNameRunes)
	if err != nil && !errors.Is(err, label.ErrEmpty) {
		return "", fmt.Errorf("%w: %w", ErrDisplayNameInvalid, err)
	}
	return name, nil
}

// CheckNewName returns how a new account's name is stored, or [ErrNameInvalid]. Beyond
// what [NormalizeName] asks, it has a letter or digit, and doesn't begin with a dash:
// "-", ".." or "--yes" are something else to programs and file systems.
func CheckNewName(name string) (string, error) {
	normal, err := NormalizeName(name)
	if err == nil && !isNewName(normal) {
		err = ErrNameInvalid
	}
	return normal, err
}

func isNewName(name string) bool {
	return !strings.HasPrefix(name, "-") && strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

const columns = `id, name, COALESCE(email, ''), display_name, locale, role, security_stamp, enroll_locked, created_at, disabled_at, two_factor_at`

func read(scan db.Scan) (Account, error) {
	var (
		a                            Account
		created, disabled, twoFactor db.At
	)
	if err := scan(&a.ID, &a.Name, &a.Email, &a.DisplayName, &a.Locale, &a.Role, &a.Stamp, &a.EnrollLocked, &created, &disabled, &twoFactor); err != nil {
		return Account{}, err
	}
	if a.Role != Member && a.Role != Operator {
		return Account{}, fmt.Errorf("account %s has the unknown role %q", a.ID, a.Role)
	}
	a.CreatedAt, a.DisabledAt, a.TwoFactorAt = created.Time, disabled.Time, twoFactor.Time
	return a, nil
}

func one(ctx context.Context, q db.Querier, query string, args ...any) (Account, error) {
	all, err := db.All(ctx, q, read, query, args...)
	if err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	if len(all) == 0 {
		return Account{}, db.ErrNotFound
	}
	return all[0], nil
}

// ByID returns the account with this id, or [db.ErrNotFound].
func ByID(ctx context.Context, q db.Querier, id string) (Account, error) {
	return one(ctx, q, `SELECT `+columns+` FROM accounts WHERE id = $1`, id)
}

// ByName returns the account that is meant by what a person typed, its name
// or its e-mail address, or [db.ErrNotFound]. Every spelling of a name leads
// to one account, and so to one budget (R5).
func ByName(ctx context.Context, q db.Querier, typed string) (Account, error) {
	if strings.Contains(typed, "@") {
		_, folded, err := NormalizeEmail(typed)
		if err != nil {
			folded = "" // matches nothing; the query is made all the same (R27)
		}
		return one(ctx, q, `SELECT `+columns+` FROM accounts WHERE email_folded = $1`, folded)
	}
	name, err := NormalizeName(typed)
	if err != nil {
		name = ""
	}
	return one(ctx, q, `SELECT `+columns+` FROM accounts WHERE name = $1`, name)
}

// listPage bounds what one statement reads of a large instance.
const listPage = 1000

// List returns up to 1,000 accounts in the order of their names, those after
// the given name.
func List(ctx context.Context, q db.Querier, after string) ([]Account, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM accounts WHERE name > $1 ORDER BY name LIMIT $2`, after, listPage)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return all, nil
}

// Count returns the number of accounts.
func Count(ctx context.Context, q db.Querier) (int, error) {
	var n int
	err := db.One(ctx, q, `SELECT COUNT(*) FROM accounts`, nil, &n)
	return n, err
}

// Exist reports whether there is any account.
func Exist(ctx context.Context, q db.Querier) (bool, error) {
	var some bool
	err := db.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM accounts)`, nil, &some)
	return some, err
}

// Create stores a new account with a new id and stamp. It returns the errors
// of the Normalize functions, [ErrNameTaken] or [ErrEmailTaken].
func Create(ctx context.Context, tx *db.Tx, a Account, now time.Time) (Account, error) {
	var err error
	if a.Name, err = CheckNewName(a.Name); err != nil {
		return Account{}, err
	}
	var folded string
	if a.Email, folded, err = NormalizeEmail(a.Email); err != nil {
		return Account{}, err
	}
	if a.DisplayName, err = NormalizeDisplayName(a.DisplayName); err != nil {
		return Account{}, err
	}
	if a.Role == "" {
		a.Role = Member
	}
	if _, err := one(ctx, tx, `SELECT `+columns+` FROM accounts WHERE name = $1`, a.Name); err == nil {
		return Account{}, ErrNameTaken
	}
	if err := emailFree(ctx, tx, folded, ""); err != nil {
		return Account{}, err
	}
	a.ID, a.Stamp, a.CreatedAt = secret.NewID(), secret.NewID(), now
	_, err = db.Exec(ctx, tx, `
		INSERT INTO accounts (id, name, email, email_folded, display_name, locale, role, security_stamp, enroll_locked, created_at)
		VALUES ($1, $2, NULLIF($3, ''), NULLIF($4, ''), $5, $6, $7, $8, $9, $10)`,
		a.ID, a.Name, a.Email, folded, a.DisplayName, a.Locale, string(a.Role), a.Stamp, a.EnrollLocked, db.At{Time: now})
	if errors.Is(err, db.ErrConflict) {
		// Somebody was faster between look and insert; both engines name what
		// is unique.
		if strings.Contains(err.Error(), "email") {
			return Account{}, ErrEmailTaken
		}
		return Account{}, ErrNameTaken
	}
	if err != nil {
		return Account{}, fmt.Errorf("create account: %w", err)
	}
	return a, nil
}

func emailFree(ctx context.Context, q db.Querier, folded, except string) error {
	if folded == "" {
		return nil
	}
	other, err := one(ctx, q, `SELECT `+columns+` FROM accounts WHERE email_folded = $1`, folded)
	if err == nil && other.ID != except {
		return ErrEmailTaken
	}
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	return nil
}

// Restamp gives the account a new security stamp and returns it. Its row stays
// locked until tx ends, so changes of one account come one after the other.
func Restamp(ctx context.Context, tx *db.Tx, id string) (string, error) {
	stamp := secret.NewID()
	return stamp, set(ctx, tx, id, `UPDATE accounts SET security_stamp = $2 WHERE id = $1`, id, stamp)
}

// SetDisabled disables the account at the given time, or enables it where at
// is zero.
func SetDisabled(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return set(ctx, tx, id, `UPDATE accounts SET disabled_at = $2 WHERE id = $1`, id, db.At{Time: at})
}

// SetEnrollLocked says whether the next authenticator needs a one-time link.
func SetEnrollLocked(ctx context.Context, tx *db.Tx, id string, locked bool) error {
	return set(ctx, tx, id, `UPDATE accounts SET enroll_locked = $2 WHERE id = $1`, id, locked)
}

// SetTwoFactor notes since when two-factor authentication is on, or with the
// zero time that it is off. What is asked at sign-in follows from the
// authenticators, not from this.
func SetTwoFactor(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return set(ctx, tx, id, `UPDATE accounts SET two_factor_at = $2 WHERE id = $1`, id, db.At{Time: at})
}

// SetDisplayName changes what the person is called.
func SetDisplayName(ctx context.Context, tx *db.Tx, id, name string) error {
	name, err := NormalizeDisplayName(name)
	if err != nil {
		return err
	}
	return set(ctx, tx, id, `UPDATE accounts SET display_name = $2 WHERE id = $1`, id, name)
}

// SetEmail changes the e-mail address; empty removes it.
func SetEmail(ctx context.Context, tx *db.Tx, id, email string) error {
	kept, folded, err := NormalizeEmail(email)
	if err != nil {
		return err
	}
	if err := emailFree(ctx, tx, folded, id); err != nil {
		return err
	}
	err = set(ctx, tx, id, `UPDATE accounts SET email = NULLIF($2, ''), email_folded = NULLIF($3, '') WHERE id = $1`, id, kept, folded)
	if errors.Is(err, db.ErrConflict) {
		return ErrEmailTaken
	}
	return err
}

// Remove deletes the account and all that belongs to it; its events stay.
func Remove(ctx context.Context, tx *db.Tx, id string) error {
	return set(ctx, tx, id, `DELETE FROM accounts WHERE id = $1`, id)
}

// set runs a statement that must change one row, of the account with that id,
// or with "" of all.
func set(ctx context.Context, tx *db.Tx, id, query string, args ...any) error {
	tx.Changed(id)
	n, err := db.Exec(ctx, tx, query, args...)
	if err != nil {
		return fmt.Errorf("change account: %w", err)
	}
	if n == 0 {
		return db.ErrNotFound
	}
	return nil
}

// Lock locks the account's row until tx ends, so that two changes of what belongs to
// it run one after the other. It comes before every other statement that writes rows
// of the account: transactions that lock rows in different orders deadlock. An account
// that doesn't exist is [db.ErrNotFound].
func Lock(ctx context.Context, tx *db.Tx, id string) error {
	n, err := db.Exec(ctx, tx, `UPDATE accounts SET security_stamp = security_stamp WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("lock account: %w", err)
	}
	if n == 0 {
		return db.ErrNotFound
	}
	return nil
}
