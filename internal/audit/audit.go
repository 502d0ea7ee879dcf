// Package audit owns the audit log, table events: what was done to an account,
// by whom, from where, with which outcome. Events are only ever added. They
// never hold a secret, a code or a token.
//
// [Append] adds an event within the transaction of what it reports. Soon
// afterwards [Seal] gives it the next number of a chain of MACs (seal.go,
// table audit_head), which [Verify] walks (verify.go, broken.go). [Prune]
// deletes the oldest and leaves a signed checkpoint (prune.go, table
// audit_checkpoints).
//
// Each key of the ring has a MAC key of its own. The last event of the chain
// says which one seals the next, for all nodes, whatever their rings say; only
// [HandOver] changes it, when keys rotate. The ring keeps that place, and from
// there on an older key counts no more: a copy of an old ring forges nothing.
//
// Whoever can write to the database but can't read the key ring can change
// nothing that was sealed unnoticed, but for one thing: cut the end off, with
// all that tells of it. That is why each sealed head goes to the server's log,
// for [Verify] to compare. What isn't sealed yet, some seconds of events, can
// be forged by them.
package audit

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Kind is what happened. Each that concerns an account has a sentence
// "activity.KIND" in the message catalogue.
type Kind string

// The kinds.
const (
	SignedIn             Kind = "signed_in"      // Detail: with which proofs
	SignInFailed         Kind = "sign_in_failed" // Number: not 0: how many it stands for, in an hour
	CodeFailed           Kind = "code_failed"
	CodeReused           Kind = "code_reused" // Number: likewise
	Reauthenticated      Kind = "reauthenticated"
	SignedOut            Kind = "signed_out"
	SessionEnded         Kind = "session_ended"
	SessionsEnded        Kind = "sessions_ended"
	TwoFactorEnabled     Kind = "two_factor_enabled"
	AuthenticatorAdded   Kind = "authenticator_added"   // Detail: its name
	AuthenticatorRenamed Kind = "authenticator_renamed" // Detail: its new name
	AuthenticatorRemoved Kind = "authenticator_removed" // Detail: its name
	TwoFactorDisabled    Kind = "two_factor_disabled"
	BackupCodesIssued    Kind = "backup_codes_issued"
	BackupCodeUsed       Kind = "backup_code_used"   // Number: how many are left
	BackupCodeFailed     Kind = "backup_code_failed" // Number: as of [SignInFailed]
	PasswordChanged      Kind = "password_changed"
	PasswordSet          Kind = "password_set"
	TwoFactorReset       Kind = "two_factor_reset"
	AccountCreated       Kind = "account_created"
	AccountInvited       Kind = "account_invited"
	AccountEnabled       Kind = "account_enabled"
	AccountDisabled      Kind = "account_disabled"
	AccountRemoved       Kind = "account_removed"
	EmailChanged         Kind = "email_changed"
	ProfileChanged       Kind = "profile_changed"
	GroupJoined          Kind = "group_joined"  // Detail: the group
	GroupLeft            Kind = "group_left"    // Detail: the group
	GroupAdded           Kind = "group_added"   // Detail: the group; it concerns no account
	GroupRemoved         Kind = "group_removed" // Detail: the group; it concerns no account
	DeviceForgotten      Kind = "device_forgotten"
	DevicesForgotten     Kind = "devices_forgotten"
	LetInIssued          Kind = "let_in_issued"
	LetInUsed            Kind = "let_in_used"
	PassMade             Kind = "pass_made"           // Detail: its name
	PassRevoked          Kind = "pass_revoked"        // Detail: its name
	WrongCodesNoticed    Kind = "wrong_codes_noticed" // Number: how many
	PasswordSuspected    Kind = "password_suspected"  // Number: of how many wrong codes
)

// The kinds that concern no account: what an operator does to the portal, and what the
// server notices.
const (
	SetupLinkIssued Kind = "setup_link_issued" // for the first account
	KeyAdded        Kind = "key_added"         // Detail: the key's id
	KeyRotated      Kind = "key_rotated"       // Detail: the id of the key that seals now
	SecretsResealed Kind = "secrets_resealed"  // Detail: the key's id; Number: how many
	KeysDropped     Kind = "keys_dropped"      // Number: how many
	BackedUp        Kind = "backed_up"         // Detail: the file; Number: how many sealed secrets
	Restored        Kind = "restored"          // Detail: the backup's file
	ClockAccepted   Kind = "clock_accepted"    // Number: of authenticators that take codes again
	ClockWentBack   Kind = "clock_went_back"   // from a time that was never believed; Number as above
)

// Alarming reports whether the event may be somebody else's doing: it is
// shown with a sign.
func (k Kind) Alarming() bool {
	return k == SignInFailed || k == CodeFailed || k == CodeReused || k == BackupCodeFailed ||
		k == WrongCodesNoticed || k == PasswordSuspected
}

// Counted reports whether an event of this kind may stand for many within an hour:
// its number says for how many.
func (k Kind) Counted() bool { return k == SignInFailed || k == CodeReused || k == BackupCodeFailed }

// Who did it.
const (
	ByOwner    = "owner"        // whoever signed in, or tried to, as the account
	ByOperator = "command line" // an operator on the server
	ByServer   = "server"       // nobody: the server noticed it
)

// Outcome of an event.
const (
	Done    = "done"
	Refused = "refused"
)

// Event is one entry of the log.
type Event struct {
	ID        string
	At        time.Time
	AccountID string // whom it concerns
	Actor     string // [ByOwner], [ByOperator] or [ByServer]
	Kind      Kind
	Outcome   string // empty: [Done]
	Detail    string // a name, see Kind
	Number    int    // a count, see Kind
	Address   string // of the browser; empty for the command line
	Browser   string // its User-Agent, cut

	// AuthenticatorID is that of the authenticator that was added, changed or
	// accepted; empty for a password, a backup code or none.
	AuthenticatorID string

	Seq int64  // its place in the chain, from 1; 0 until it is sealed
	MAC []byte // what seals it, see [Seal]
}

// What is kept of text that others wrote.
const (
	maxDetail  = 200
	maxBrowser = 300
)

// Append adds the event in tx, so that it stands if, and only if, what it
// reports does.
func Append(ctx context.Context, tx *db.Tx, e Event) error {
	if e.Outcome == "" {
		e.Outcome = Done
	}
	_, err := db.Exec(ctx, tx, `
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser, authenticator_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULLIF($11, ''))`,
		secret.NewID(), db.At{Time: e.At}, e.AccountID, e.Actor, string(e.Kind), e.Outcome,
		Clean(e.Detail, maxDetail), e.Number, e.Address, Clean(e.Browser, maxBrowser), e.AuthenticatorID)
	if err != nil {
		return fmt.Errorf("append audit event: %w", err)
	}
	return nil
}

// Clean returns text of others fit for a log and a page: valid UTF-8, without
// control characters, cut to limit bytes (ATTACKS 158).
func Clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	for len(text) > limit {
		// Cut at a character's beginning.
		cut := limit
		for cut > 0 && text[cut]&0xc0 == 0x80 {
			cut--
		}
		text = text[:cut]
	}
	return text
}

// Happened reports whether the account has an event of that kind from since to until.
// Events can't be changed, so those that a clock which was ahead wrote after until stay
// there, and tell nothing.
func Happened(ctx context.Context, q db.Querier, accountID string, kind Kind, since, until time.Time) (bool, error) {
	var some bool
	err := db.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM events WHERE account_id = $1 AND at >= $2 AND at <= $3 AND kind = $4)`,
		[]any{accountID, db.At{Time: since}, db.At{Time: until}, string(kind)}, &some)
	if err != nil {
		return false, fmt.Errorf("look for an audit event: %w", err)
	}
	return some, nil
}

// Cursor is where a page of events ended; its zero value is the beginning.
type Cursor struct {
	At time.Time
	ID string
}

const columns = `id, at, account_id, actor, kind, outcome, detail, number, address, browser, COALESCE(authenticator_id, ''), COALESCE(seq, 0), mac`

func read(scan db.Scan) (Event, error) {
	var (
		e  Event
		at db.At
	)
	err := scan(&e.ID, &at, &e.AccountID, &e.Actor, &e.Kind, &e.Outcome, &e.Detail, &e.Number, &e.Address, &e.Browser, &e.AuthenticatorID, &e.Seq, &e.MAC)
	e.At = at.Time
	return e, err
}

// List returns up to n events of an account, newest first, those before the
// cursor.
func List(ctx context.Context, q db.Querier, accountID string, before Cursor, n int) ([]Event, error) {
	at := before.At
	if at.IsZero() {
		at = time.UnixMilli(1 << 52) // past every event
	}
	all, err := db.All(ctx, q, read, `
		SELECT `+columns+`
		FROM   events
		WHERE  account_id = $1 AND (at < $2 OR at = $2 AND id < $3)
		ORDER  BY at DESC, id DESC
		LIMIT  $4`, accountID, db.At{Time: at}, before.ID, n)
	if err != nil {
		return nil, fmt.Errorf("list audit events: %w", err)
	}
	return all, nil
}

// Newest returns the n newest events of all accounts, newest first.
func Newest(ctx context.Context, q db.Querier, n int) ([]Event, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM events ORDER BY at DESC, id DESC LIMIT $1`, n)
	if err != nil {
		return nil, fmt.Errorf("list audit events: %w", err)
	}
	return all, nil
}

// page bounds what one statement reads of a long log.
const page = 1000

// Each calls visit with every event at or after since: first the sealed ones
// in the order of the chain, then those that wait to be sealed. It ends with
// visit's error.
func Each(ctx context.Context, q db.Querier, since time.Time, visit func(Event) error) error {
	shown := map[string]bool{} // while they waited to be sealed
	last := Event{Seq: math.MinInt64}
	sealed := func() error {
		for {
			all, err := sealedAfter(ctx, q, last, page)
			if err != nil || len(all) == 0 {
				return err
			}
			for _, e := range all {
				last = e
				if shown[e.ID] || e.At.Before(since) {
					continue
				}
				if err := visit(e); err != nil {
					return err
				}
			}
		}
	}
	if err := sealed(); err != nil {
		return err
	}
	for after := (Event{At: since}); ; {
		all, err := waiting(ctx, q, after, page)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return sealed() // what was sealed meanwhile is neither missed nor told twice
		}
		for _, e := range all {
			after, shown[e.ID] = e, true
			if err := visit(e); err != nil {
				return err
			}
		}
	}
}

// sealedAfter returns up to n sealed events that stand behind one, in order.
// Only who meddled can make two stand at one place; both are returned.
func sealedAfter(ctx context.Context, q db.Querier, after Event, n int) ([]Event, error) {
	all, err := db.All(ctx, q, read, `
		SELECT `+columns+`
		FROM   events
		WHERE  seq >= $1 AND (seq > $1 OR id > $2)
		ORDER  BY seq, id
		LIMIT  $3`, after.Seq, after.ID, n)
	if err != nil {
		return nil, fmt.Errorf("read sealed events: %w", err)
	}
	return all, nil
}

// waiting returns up to n events that wait to be sealed, oldest first, those
// after one.
func waiting(ctx context.Context, q db.Querier, after Event, n int) ([]Event, error) {
	at := db.At{Time: after.At}
	if at.IsZero() {
		at.Time = time.UnixMilli(math.MinInt64)
	}
	all, err := db.All(ctx, q, read, `
		SELECT `+columns+`
		FROM   events
		WHERE  seq IS NULL AND (at > $1 OR at = $1 AND id > $2)
		ORDER  BY at, id
		LIMIT  $3`, at, after.ID, n)
	if err != nil {
		return nil, fmt.Errorf("read unsealed events: %w", err)
	}
	return all, nil
}
