package audit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Kind says what happened. Each kind that concerns an account has a sentence
// "activity.KIND" in the message catalogue.
type Kind string

// The kinds that concern an account or a group.
const (
	SignedIn             Kind = "signed_in"      // Detail: the kinds of its proofs
	SignInFailed         Kind = "sign_in_failed" // Number: if not 0, how many failures within an hour it stands for
	CodeFailed           Kind = "code_failed"
	CodeReused           Kind = "code_reused" // Number: as of SignInFailed
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
	BackupCodeFailed     Kind = "backup_code_failed" // Number: as of SignInFailed
	PasswordChanged      Kind = "password_changed"
	PasswordSet          Kind = "password_set"
	PasswordReset        Kind = "password_reset"   // with a mailed link
	ResetAsked           Kind = "reset_asked"      // a link for a new password, by mail
	UnlockAsked          Kind = "unlock_asked"     // a link that lets a browser in, by mail
	Unlocked             Kind = "unlocked"         // with a mailed link, which let a browser in
	EmailAsked           Kind = "email_asked"      // a link to confirm an address
	EmailRestored        Kind = "email_restored"   // by the owner of the former address
	EmailVerified        Kind = "email_verified"   // by a link in a mail, or the word of an operator
	EmailRefused         Kind = "email_refused"    // by the mail server
	TwoFactorReset       Kind = "two_factor_reset" // Detail: [LinkShown] or [LinkMailed]
	AccountCreated       Kind = "account_created"
	AccountInvited       Kind = "account_invited" // Detail: as of TwoFactorReset
	AccountEnabled       Kind = "account_enabled"
	AccountDisabled      Kind = "account_disabled"
	AccountRemoved       Kind = "account_removed"
	EmailChanged         Kind = "email_changed"
	ProfileChanged       Kind = "profile_changed"
	RoleChanged          Kind = "role_changed"  // Detail: the new role's name
	GroupJoined          Kind = "group_joined"  // Detail: the group
	GroupLeft            Kind = "group_left"    // Detail: the group
	GroupAdded           Kind = "group_added"   // Detail: the group; no account
	GroupRemoved         Kind = "group_removed" // Detail: the group; no account
	DeviceForgotten      Kind = "device_forgotten"
	DevicesForgotten     Kind = "devices_forgotten"
	LetInIssued          Kind = "let_in_issued" // Detail: as of TwoFactorReset; none for an owner
	LetInUsed            Kind = "let_in_used"
	PassMade             Kind = "pass_made"           // Detail: its name
	PassRevoked          Kind = "pass_revoked"        // Detail: its name
	WrongCodesNoticed    Kind = "wrong_codes_noticed" // Number: how many
	PasswordSuspected    Kind = "password_suspected"  // Number: after how many wrong codes
	MailGivenUp          Kind = "mail_given_up"       // Detail: the notice's kind; Number: after how many tries
	MailDropped          Kind = "mail_dropped"        // Detail: the notice's kind
)

// The kinds that concern no account: changes that an operator makes to the portal,
// and observations of the server.
const (
	SetupLinkIssued Kind = "setup_link_issued" // for the first account
	KeyAdded        Kind = "key_added"         // Detail: the key's id
	KeyRotated      Kind = "key_rotated"       // Detail: the id of the new sealing key
	SecretsResealed Kind = "secrets_resealed"  // Detail: the key's id; Number: how many
	KeysDropped     Kind = "keys_dropped"      // Number: how many
	BackedUp        Kind = "backed_up"         // Detail: the file; Number: how many sealed secrets
	Restored        Kind = "restored"          // Detail: the backup's file
	WebhookGivenUp  Kind = "webhook_given_up"  // Detail: the notice's kind; Number: after how many tries
	WebhookDropped  Kind = "webhook_dropped"   // Detail: the notice's kind
	MessagesRetried Kind = "messages_retried"  // Number: how many messages
	ClockAccepted   Kind = "clock_accepted"    // Number: how many authenticators accept codes again
	ClockWentBack   Kind = "clock_went_back"   // from a time that was never accepted; Number: as of ClockAccepted
)

// IsAlarming reports whether the event may be the act of an attacker. Pages mark it.
func (k Kind) IsAlarming() bool {
	return k == SignInFailed || k == CodeFailed || k == CodeReused || k == BackupCodeFailed ||
		k == WrongCodesNoticed || k == PasswordSuspected
}

// IsCounted reports whether one event of this kind may stand for several that happened within
// an hour. The event's Number then says for how many.
func (k Kind) IsCounted() bool { return k == SignInFailed || k == CodeReused || k == BackupCodeFailed }

// Values of [Event.Actor].
const (
	ByOwner    = "owner"        // the client that signed in, or tried to, as the account
	ByOperator = "command line" // an operator on the server
	ByServer   = "server"       // the server noticed it by itself

	// ByAdministrator: an account with a role, in a browser. ActorID says which.
	ByAdministrator = "administrator"
)

// Values of [Event.Outcome].
const (
	Done    = "done"
	Refused = "refused"
)

// Values of [Event.Detail] that say how an operator's link reached its user.
const (
	LinkShown  = "link shown"  // the operator saw it, and hands it over
	LinkMailed = "link mailed" // nobody but the owner of the address sees it
)

// Event is one entry of the log.
type Event struct {
	ID        string
	At        time.Time
	AccountID string // the account that it concerns; may be empty
	Actor     string // [ByOwner], [ByOperator], [ByServer] or [ByAdministrator]
	Kind      Kind
	Outcome   string // [Done] or [Refused]; empty means Done
	Detail    string // a name; see Kind
	Number    int    // a count; see Kind
	Address   string // IP address of the client; empty for the command line
	Browser   string // User-Agent of the client, cut to 300 bytes

	// AuthenticatorID is the id of the authenticator that was added, changed or accepted; empty
	// for a password or a backup code, and for events without an authenticator.
	AuthenticatorID string

	// The following say more about the actor. [Append] may have to leave them out.
	ActorID  string // the account of the administrator who acted; empty for other actors
	ClientID string // the configured client through which the actor acted; may be empty
	Reason   string // why, in the actor's words, cut to 800 bytes; empty if unknown

	Seq int64  // the place in the chain, from 1; 0 until the event is sealed
	MAC []byte // the signature that seals the event; see [Seal]

	// notCanonical means that the row was changed to one that reads the same. Either one of
	// AuthenticatorID, ActorID, ClientID and Reason is empty instead of NULL, or, on SQLite only, one
	// of ID, AccountID and Kind is a BLOB. No text equals a BLOB, so a search wouldn't find the event.
	notCanonical bool
}

// isExtended reports whether the event has a field that events of the first form lack.
func (e Event) isExtended() bool { return e.ActorID != "" || e.ClientID != "" || e.Reason != "" }

// Limits in bytes on text that users and clients wrote.
const (
	maxDetail  = 200
	maxBrowser = 300
	maxReason  = 800 // 200 characters of any language
)

// Append adds the event in tx, so that the event is stored if and only if the change that it
// reports is. It sets ID if it is empty, and ignores Seq and MAC. While a node runs a version
// that would seal the event without ActorID, ClientID and Reason, Append leaves these fields out,
// so that the change doesn't fail. If the event has one of them, tx must use its tables in the
// order that [cluster.Use] demands.
func Append(ctx context.Context, tx *db.Tx, e Event) error {
	if e.Outcome == "" {
		e.Outcome = Done
	}
	e = e.Cleaned()
	if e.ID == "" {
		e.ID = secret.NewTimedID(e.At)
	}
	_, err := db.Exec(ctx, tx, `
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser, authenticator_id, actor_id, client_id, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULLIF($11, ''), NULLIF($12, ''), NULLIF($13, ''), NULLIF($14, ''))`,
		e.ID, db.At{Time: e.At}, e.AccountID, e.Actor, string(e.Kind), e.Outcome,
		e.Detail, e.Number, e.Address, e.Browser, e.AuthenticatorID, e.ActorID, e.ClientID, e.Reason)
	if err == nil && e.isExtended() {
		// After the insert, because of the order of locks; see [cluster.Use].
		err = cluster.Use(ctx, tx, cluster.Audit2)
		if errors.Is(err, cluster.ErrNotYet) {
			_, err = db.Exec(ctx, tx, `UPDATE events SET actor_id = NULL, client_id = NULL, reason = NULL WHERE id = $1`, e.ID)
		}
	}
	if err != nil {
		return fmt.Errorf("append audit event: %w", err)
	}
	return nil
}

// Cleaned returns the event with the texts of users and clients as [Append] stores them.
func (e Event) Cleaned() Event {
	e.Detail, e.Reason, e.Browser = Clean(e.Detail, maxDetail), Clean(e.Reason, maxReason), Clean(e.Browser, maxBrowser)
	return e
}

// Clean makes text that users or clients wrote safe for a log and a page: it returns
// valid UTF-8 without control characters, cut to limit bytes (attack 158).
func Clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	for len(text) > limit {
		// Don't cut within a character.
		cut := limit
		for cut > 0 && text[cut]&0xc0 == 0x80 {
			cut--
		}
		text = text[:cut]
	}
	return text
}

// Happened reports whether the account has an event of that kind between start and end, both
// included. It ignores events after end: a server whose clock was ahead may have written them,
// and events can't be corrected.
func Happened(ctx context.Context, q db.Querier, accountID string, kind Kind, start, end time.Time) (bool, error) {
	var some bool
	err := db.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM events WHERE account_id = $1 AND at >= $2 AND at <= $3 AND kind = $4)`,
		[]any{accountID, db.At{Time: start}, db.At{Time: end}, string(kind)}, &some)
	if err != nil {
		return false, fmt.Errorf("look for an audit event: %w", err)
	}
	return some, nil
}

// Cursor is the place at which a page of events ended. Its zero value is the
// beginning, before the newest event.
type Cursor struct {
	At time.Time
	ID string
}

const columns = `id, at, account_id, actor, kind, outcome, detail, number, address, browser, COALESCE(authenticator_id, ''),
	COALESCE(actor_id, ''), COALESCE(client_id, ''), COALESCE(reason, ''), COALESCE(seq, 0), mac,
	COALESCE(length(authenticator_id) = 0 OR length(actor_id) = 0 OR length(client_id) = 0 OR length(reason) = 0
		OR id || '' <> id OR account_id || '' <> account_id OR kind || '' <> kind, FALSE)`

func read(scan db.Scan) (Event, error) {
	var (
		e  Event
		at db.At
	)
	err := scan(&e.ID, &at, &e.AccountID, &e.Actor, &e.Kind, &e.Outcome, &e.Detail, &e.Number, &e.Address, &e.Browser, &e.AuthenticatorID,
		&e.ActorID, &e.ClientID, &e.Reason, &e.Seq, &e.MAC, &e.notCanonical)
	e.At = at.Time
	return e, err
}

// List returns up to n events of an account, newest first, that come after the
// cursor in this order.
func List(ctx context.Context, q db.Querier, accountID string, before Cursor, n int) ([]Event, error) {
	at := before.At
	if at.IsZero() {
		at = time.UnixMilli(1 << 52) // later than every event
	}
	all, err := db.All(ctx, q, `
		SELECT `+columns+`
		FROM   events
		WHERE  account_id = $1 AND (at < $2 OR at = $2 AND id < $3)
		ORDER  BY at DESC, id DESC
		LIMIT  $4`, []any{accountID, db.At{Time: at}, before.ID, n}, read)
	if err != nil {
		return nil, fmt.Errorf("list audit events: %w", err)
	}
	return all, nil
}

// Newest returns the n newest events of all accounts, newest first.
func Newest(ctx context.Context, q db.Querier, n int) ([]Event, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM events ORDER BY at DESC, id DESC LIMIT $1`, []any{n}, read)
	if err != nil {
		return nil, fmt.Errorf("list audit events: %w", err)
	}
	return all, nil
}

// page is the largest number of events that one statement reads.
const page = 1000

// Each calls visit with every event from the time start on: first the sealed events in the order
// of the chain, then those that are not sealed yet. It stops at an error of visit and returns that
// error.
func Each(ctx context.Context, q db.Querier, start time.Time, visit func(Event) error) error {
	shown := map[string]bool{} // ids of events that were visited before they were sealed
	last := Event{Seq: math.MinInt64}
	sealed := func() error {
		for {
			all, err := sealedAfter(ctx, q, last, page)
			if err != nil || len(all) == 0 {
				return err
			}
			for _, e := range all {
				last = e
				if shown[e.ID] || e.At.Before(start) {
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
	for after := (Event{At: start}); ; {
		all, err := unsealedEvents(ctx, q, after, page)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return sealed() // events that were sealed meanwhile are visited once
		}
		for _, e := range all {
			after, shown[e.ID] = e, true
			if err := visit(e); err != nil {
				return err
			}
		}
	}
}

// sealedAfter returns up to n sealed events that follow the given event in the chain, in
// order. Only an attacker can put two events at one place; sealedAfter returns both.
func sealedAfter(ctx context.Context, q db.Querier, after Event, n int) ([]Event, error) {
	all, err := db.All(ctx, q, `
		SELECT `+columns+`
		FROM   events
		WHERE  seq >= $1 AND (seq > $1 OR id > $2)
		ORDER  BY seq, id
		LIMIT  $3`, []any{after.Seq, after.ID, n}, read)
	if err != nil {
		return nil, fmt.Errorf("read sealed events: %w", err)
	}
	return all, nil
}

// unsealedEvents returns up to n events that are not sealed yet and are later than the given
// event, oldest first.
func unsealedEvents(ctx context.Context, q db.Querier, after Event, n int) ([]Event, error) {
	at := db.At{Time: after.At}
	if at.IsZero() {
		at.Time = time.UnixMilli(math.MinInt64)
	}
	all, err := db.All(ctx, q, `
		SELECT `+columns+`
		FROM   events
		WHERE  seq IS NULL AND (at > $1 OR at = $1 AND id > $2)
		ORDER  BY at, id
		LIMIT  $3`, []any{at, after.ID, n}, read)
	if err != nil {
		return nil, fmt.Errorf("read unsealed events: %w", err)
	}
	return all, nil
}
