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

// Account is a person's account. The zero value stands for no account.
type Account struct {
	ID          string
	Name        string // unique, lower case, no "@"
	Email       string // as typed; unique without regard to case; may be empty
	DisplayName string // may be empty
	Locale      string // BCP 47 tag; empty to use the browser's
	Role        Role
	CreatedAt   time.Time
	DisabledAt  time.Time // zero if enabled
	TwoFactorAt time.Time // start of the current period with two-factor authentication; zero if off

	// TwoFactorPostponedAt is when the owner last chose "Later" on the page that asks to enable
	// two-factor authentication; zero: never.
	TwoFactorPostponedAt time.Time

	// Stamp changes with every change of the account's credentials. Sessions, attempts and
	// passes made under another stamp are invalid (R17).
	Stamp string

	// EmailVerifiedAt is when Email was last known to reach the owner; zero if it never was.
	EmailVerifiedAt time.Time
	// EmailRefusedAt is when the mail server refused Email, since there is no such mailbox; zero if
	// it didn't, or if Email was verified afterwards.
	EmailRefusedAt time.Time

	// PasswordMailedAt is when a mailed link last replaced the password. FactorMailedAt is when one
	// last opened the wizard that replaces the second factor. See [MailPause].
	PasswordMailedAt, FactorMailedAt time.Time

	// EnrollLocked is set when an operator removes the account's authenticators. The next
	// one can then be enrolled only with a one-time link (F15).
	EnrollLocked bool
}

// ShownName returns the display name, or the name if the account has no display name.
func (a Account) ShownName() string {
	if a.DisplayName != "" {
		return a.DisplayName
	}
	return a.Name
}

// Disabled reports whether the account is disabled, so that nobody can sign in to it.
func (a Account) Disabled() bool { return !a.DisabledAt.IsZero() }

// Limits of names. Longer ones would not fit into a QR code, a header or a page.
const (
	maxNameRunes  = 64
	maxNameBytes  = 128
	maxEmailBytes = 254 // RFC 5321, section 4.5.3.1.3

	// MaxDisplayNameRunes is the maximum length of a display name in code points.
	MaxDisplayNameRunes = 80
)

// Errors for names and addresses that can't be used.
var (
	ErrNameInvalid        = errors.New("name is not usable: use 1 to 64 letters, digits or symbols, with at least one letter or digit, no spaces, no @, and no dash in front")
	ErrNameTaken          = errors.New("name is taken")
	ErrEmailInvalid       = errors.New("e-mail address is not usable: use the address alone, such as ada@example.com")
	ErrEmailTaken         = errors.New("e-mail address is taken")
	ErrDisplayNameInvalid = errors.New("display name is not usable: use at most 80 printable characters")
)

// NormalizeName returns the form of name that is stored and searched for: PRECIS
// UsernameCaseMapped (RFC 8265, section 3.3), without "@", so that a name is never an e-mail
// address. Its error is [ErrNameInvalid].
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

// NormalizeEmail returns the address as it is stored, and a folded form that is unique and
// searched for. An empty address stays empty. It rejects only what could do harm in a mail,
// a header or a page; whether an address exists shows only when a mail arrives.
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

// CheckNewName returns the stored form of a new account's name, or [ErrNameInvalid]. Beyond
// the rules of [NormalizeName], a new name has a letter or digit and no dash at its start,
// since "-", ".." and "--yes" mean something else to programs and file systems.
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

const columns = `id, name, COALESCE(email, ''), display_name, locale, role, security_stamp, enroll_locked, created_at, disabled_at, two_factor_at,
	CASE WHEN verified_email = email_folded THEN email_verified_at END, CASE WHEN refused_email = email_folded THEN email_refused_at END,
	password_mailed_at, factor_mailed_at, two_factor_postponed_at`

func scanAccount(scan db.Scan) (Account, error) {
	var (
		a                            Account
		created, disabled, twoFactor db.At
		verified, refused            db.At
		password, factor, postponed  db.At
	)
	if err := scan(&a.ID, &a.Name, &a.Email, &a.DisplayName, &a.Locale, &a.Role, &a.Stamp, &a.EnrollLocked, &created, &disabled, &twoFactor, &verified, &refused, &password, &factor, &postponed); err != nil {
		return Account{}, err
	}
	a.CreatedAt, a.DisabledAt, a.TwoFactorAt = created.Time, disabled.Time, twoFactor.Time
	a.TwoFactorPostponedAt = postponed.Time
	a.EmailVerifiedAt, a.EmailRefusedAt, a.PasswordMailedAt, a.FactorMailedAt = verified.Time, refused.Time, password.Time, factor.Time
	return a, nil
}

func readOne(ctx context.Context, q db.Querier, query string, args ...any) (Account, error) {
	all, err := db.All(ctx, q, query, args, scanAccount)
	if err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	if len(all) == 0 {
		return Account{}, db.ErrNotFound
	}
	if a := all[0]; !a.Role.isKnown() {
		return Account{}, fmt.Errorf("account %s has the unknown role %q", a.ID, a.Role)
	}
	return all[0], nil
}

// ByID returns the account with this id, or [db.ErrNotFound].
func ByID(ctx context.Context, q db.Querier, id string) (Account, error) {
	return readOne(ctx, q, `SELECT `+columns+` FROM accounts WHERE id = $1`, id)
}

// ByName returns the account with the name or e-mail address that the user typed, or
// [db.ErrNotFound]. All spellings of a name find the same account, so that tries with any of
// them count against one budget (R5).
func ByName(ctx context.Context, q db.Querier, typed string) (Account, error) {
	condition, value := matching(typed)
	return readOne(ctx, q, `SELECT `+columns+` FROM accounts WHERE `+condition, value)
}

// ForMail is like ByName, but it returns only ID, Email and Stamp, and the zero account for an
// unknown name. Its query returns one row for every name, known or not, so that its time doesn't
// reveal which names exist (R27).
func ForMail(ctx context.Context, q db.Querier, typed string) (a Account, err error) {
	condition, value := matching(typed)
	err = db.One(ctx, q, `
		SELECT COALESCE(MAX(id), ''), COALESCE(MAX(email), ''), COALESCE(MAX(security_stamp), '')
		FROM   accounts WHERE `+condition, []any{value}, &a.ID, &a.Email, &a.Stamp)
	if err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	return a, nil
}

// matching returns the condition on the account with the name or e-mail address that the user
// typed, and its parameter. If no account can have that name, the condition matches none, but
// costs the same query (R27).
func matching(typed string) (condition, value string) {
	if strings.Contains(typed, "@") {
		_, folded, err := NormalizeEmail(typed)
		if err != nil {
			folded = ""
		}
		return `email_folded = $1`, folded
	}
	name, err := NormalizeName(typed)
	if err != nil {
		name = ""
	}
	return `name = $1`, name
}

// listPage is the number of accounts that one statement reads.
const listPage = 1000

// List returns up to 1,000 accounts ordered by name, starting after the given name. Unlike the
// functions that return one account, it also returns accounts with an unknown role.
func List(ctx context.Context, q db.Querier, after string) ([]Account, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM accounts WHERE name > $1 ORDER BY name LIMIT $2`,
		[]any{after, listPage}, scanAccount)
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

// AnyExist reports whether any account exists.
func AnyExist(ctx context.Context, q db.Querier) (bool, error) {
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
	if _, err := readOne(ctx, tx, `SELECT `+columns+` FROM accounts WHERE name = $1`, a.Name); err == nil {
		return Account{}, ErrNameTaken
	}
	if err := checkEmailFree(ctx, tx, folded, ""); err != nil {
		return Account{}, err
	}
	a.ID, a.Stamp, a.CreatedAt = secret.NewID(), secret.NewID(), now
	_, err = db.Exec(ctx, tx, `
		INSERT INTO accounts (id, name, email, email_folded, display_name, locale, role, security_stamp, enroll_locked, created_at)
		VALUES ($1, $2, NULLIF($3, ''), NULLIF($4, ''), $5, $6, $7, $8, $9, $10)`,
		a.ID, a.Name, a.Email, folded, a.DisplayName, a.Locale, string(a.Role), a.Stamp, a.EnrollLocked, db.At{Time: now})
	if errors.Is(err, db.ErrConflict) {
		// A concurrent transaction inserted first. Both engines name the unique column.
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

func checkEmailFree(ctx context.Context, q db.Querier, folded, except string) error {
	if folded == "" {
		return nil
	}
	other, err := readOne(ctx, q, `SELECT `+columns+` FROM accounts WHERE email_folded = $1`, folded)
	if err == nil && other.ID != except {
		return ErrEmailTaken
	}
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	return nil
}

// Restamp gives the account a new security stamp and returns it. The row stays locked until
// tx ends, so that changes of one account run one after the other.
func Restamp(ctx context.Context, tx *db.Tx, id string) (string, error) {
	stamp := secret.NewID()
	return stamp, changeOne(ctx, tx, id, `UPDATE accounts SET security_stamp = $2 WHERE id = $1`, id, stamp)
}

// SetDisabled stores since when the account is disabled. The zero time enables the account.
func SetDisabled(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET disabled_at = $2 WHERE id = $1`, id, db.At{Time: at})
}

// SetEnrollLocked sets whether the next authenticator needs a one-time link.
func SetEnrollLocked(ctx context.Context, tx *db.Tx, id string, locked bool) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET enroll_locked = $2 WHERE id = $1`, id, locked)
}

// SetTwoFactor stores since when two-factor authentication is on; the zero time means that it is
// off. A sign-in asks for a code if the account has authenticators. This time is used for the
// demands of panels, and to detect lost rows of authenticators.
func SetTwoFactor(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET two_factor_at = $2 WHERE id = $1`, id, db.At{Time: at})
}

// PostponeTwoFactor stores when the owner chose "Later".
func PostponeTwoFactor(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	return changeOne(ctx, tx, id, `UPDATE accounts SET two_factor_postponed_at = $2 WHERE id = $1`, id, db.At{Time: at})
}

// SetDisplayName changes the display name, or returns [ErrDisplayNameInvalid].
func SetDisplayName(ctx context.Context, tx *db.Tx, id, name string) error {
	name, err := NormalizeDisplayName(name)
	if err != nil {
		return err
	}
	return changeOne(ctx, tx, id, `UPDATE accounts SET display_name = $2 WHERE id = $1`, id, name)
}

// SetEmail changes the e-mail address. An empty one removes it.
func SetEmail(ctx context.Context, tx *db.Tx, id, email string) error {
	kept, folded, err := NormalizeEmail(email)
	if err != nil {
		return err
	}
	if err := checkEmailFree(ctx, tx, folded, id); err != nil {
		return err
	}
	// Forget that the earlier address was verified or refused: if the account gets that address
	// again, its mailbox may belong to another person by then, or exist again.
	err = changeOne(ctx, tx, id, `
		UPDATE accounts SET email = NULLIF($2, ''), email_folded = NULLIF($3, ''),
			verified_email = CASE WHEN email_folded = $3 THEN verified_email END,
			refused_email = CASE WHEN email_folded = $3 THEN refused_email END
		WHERE  id = $1`, id, kept, folded)
	if errors.Is(err, db.ErrConflict) {
		return ErrEmailTaken
	}
	return err
}

// Remove deletes the account and all rows that refer to it. The caller deletes its ledger rows;
// audit events stay.
func Remove(ctx context.Context, tx *db.Tx, id string) error {
	return changeOne(ctx, tx, id, `DELETE FROM accounts WHERE id = $1`, id)
}

// changeOne runs a statement that must change one row of the account with this id. With an empty
// id, all cached accounts become invalid.
func changeOne(ctx context.Context, tx *db.Tx, id, query string, args ...any) error {
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
