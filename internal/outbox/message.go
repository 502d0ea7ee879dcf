package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Kind says how a message is sent.
type Kind string

// The kinds.
const (
	Mail    Kind = "mail"
	Webhook Kind = "webhook"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Mail, Webhook} }

// Message is something to send.
type Message struct {
	ID        string // the same in all tries; 20 characters of base64url
	Kind      Kind
	AccountID string // the account that a mail is for; empty for the site's webhook
	Address   string // the mail's recipient; empty: the address that the account has when the mail is sent
	Topic     string // what the message is about; quotas count messages of one topic together
	Body      []byte // for the [Sender]; stored sealed

	// Urgent messages are sent first, and quotas don't apply to them.
	Urgent bool
	// Brief messages are useless after half an hour. Until then they are retried at short intervals.
	// Other messages are retried for three days.
	Brief bool

	// The following are set by this package.
	More         int  // how many messages were folded into this one
	Tries        int  // number of tries, including one under way
	Unsure       bool // an earlier try may have succeeded
	DueAt        time.Time
	CreatedAt    time.Time
	GivesUpAt    time.Time
	ClaimedUntil time.Time // end of the claim by the node that sends it, which may have died; zero: not claimed
	LastError    string    // of the last try

	sealed   []byte
	admitted bool // quotas allow it
}

// Priorities, in the order of sending.
const (
	urgent = 0
	normal = 1
)

func (m Message) priority() int {
	if m.Urgent {
		return urgent
	}
	return normal
}

// maxError limits the text about a failure, in bytes.
const maxError = 300

// place returns the place of the message's sealed body, which binds the body to its row and
// account.
func place(m Message) secret.Place {
	return secret.Place{Table: "outbox", Column: "body", Row: m.ID + "/" + string(m.Kind) + "/" + m.AccountID}
}

// Add stores a message in tx, to be sent once tx is committed. It takes Kind, AccountID, Address,
// Topic, Body, Urgent and Brief from m. The parameter now is the time of the reference clock.
func Add(ctx context.Context, tx *db.Tx, ring *secret.Ring, m Message, now time.Time) error {
	m.ID = secret.NewTimedID(now)
	_, err := db.Exec(ctx, tx, `
		INSERT INTO outbox (id, kind, account_id, address, topic, body, priority, brief, admitted, more, tries, unsure, due_at, created_at, gives_up_at, last_error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, FALSE, $10, $10, $11, '')`,
		m.ID, string(m.Kind), m.AccountID, m.Address, m.Topic, ring.Seal(place(m), m.Body), m.priority(), m.Brief, m.Urgent,
		db.At{Time: now}, db.At{Time: now.Add(lifeOf(m.Brief))})
	if err != nil {
		return fmt.Errorf("store message: %w", err)
	}
	return nil
}

const columns = `id, kind, account_id, address, topic, body, priority, brief, admitted, more, tries, unsure, due_at, claimed_until, created_at, gives_up_at, last_error`

func read(scan db.Scan) (m Message, err error) {
	var (
		priority                     int
		due, claimed, created, until db.At
	)
	err = scan(&m.ID, &m.Kind, &m.AccountID, &m.Address, &m.Topic, &m.sealed, &priority, &m.Brief, &m.admitted, &m.More, &m.Tries, &m.Unsure, &due, &claimed, &created, &until, &m.LastError)
	m.Urgent, m.DueAt, m.ClaimedUntil, m.CreatedAt, m.GivesUpAt = priority == urgent, due.Time, claimed.Time, created.Time, until.Time
	return m, err
}

// List returns up to n messages whose ids are greater than after, in the order of their ids and
// without their bodies.
func List(ctx context.Context, q db.Querier, after string, n int) ([]Message, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM outbox WHERE id > $1 ORDER BY id LIMIT $2`, []any{after, n}, read)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	return all, nil
}

// PinAddress makes the account's former address the recipient of its waiting mails. Otherwise a
// thief who changes the address would receive those mails. If former is empty, they are deleted.
func PinAddress(ctx context.Context, tx *db.Tx, accountID, former string) error {
	// Lock the rows in the same order as [fold], so that the two can't deadlock.
	const unpinned = ` WHERE id IN (SELECT id FROM outbox WHERE account_id = $1 AND kind = $2 AND address = '' ORDER BY created_at, id FOR NO KEY UPDATE)`
	statement, args := `UPDATE outbox SET address = $3`+unpinned, []any{accountID, string(Mail), former}
	if former == "" {
		statement, args = `DELETE FROM outbox`+unpinned, args[:2]
	}
	if _, err := db.Exec(ctx, tx, statement, args...); err != nil {
		return fmt.Errorf("keep the address of waiting mails: %w", err)
	}
	return nil
}

// AddressOf returns the recipient that is stored with a waiting mail, or "" if it goes to its
// account's address. It returns [db.ErrNotFound] if the mail was deleted. A sender reads the
// account's address first and calls AddressOf afterwards: if the result is then "", the account has
// had that address since the mail was stored.
func AddressOf(ctx context.Context, q db.Querier, id string) (address string, err error) {
	err = db.One(ctx, q, `SELECT address FROM outbox WHERE id = $1`, []any{id}, &address)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return "", fmt.Errorf("read a mail's address: %w", err)
	}
	return address, err
}

// RemoveAccount deletes the mails to an account that is removed.
func RemoveAccount(ctx context.Context, tx *db.Tx, accountID string) error {
	for _, statement := range []string{`DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE account_id = $1 AND kind = $2 ORDER BY created_at, id FOR NO KEY UPDATE)`, `DELETE FROM outbox_quotas WHERE account_id = $1 AND kind = $2`} {
		if _, err := db.Exec(ctx, tx, statement, accountID, string(Mail)); err != nil {
			return fmt.Errorf("remove an account's mails: %w", err)
		}
	}
	return nil
}

// Purge deletes all messages after the database was restored from a backup: most of them were
// sent since the backup was made, and links in them don't work any more.
func Purge(ctx context.Context, tx *db.Tx) error {
	for _, statement := range []string{`DELETE FROM outbox`, `DELETE FROM outbox_quotas`} {
		if _, err := db.Exec(ctx, tx, statement); err != nil {
			return fmt.Errorf("purge messages: %w", err)
		}
	}
	return nil
}

// Sealed returns the sealed bodies of up to [secret.SealedBatch] messages whose ids are greater than
// after, in the order of ids. After the last message, the result is empty.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	return db.All(ctx, q, `SELECT `+columns+` FROM outbox WHERE id > $1 ORDER BY id LIMIT $2`, []any{after, secret.SealedBatch}, func(scan db.Scan) (secret.Sealed, error) {
		m, err := read(scan)
		return secret.Sealed{ID: m.ID, Place: place(m), Bytes: m.sealed}, err
	})
}

// Reseal replaces the sealed bytes of a body by resealed, which is the same body sealed under
// another key. If the row changed since old was read, it stays as it is and Reseal reports false.
func Reseal(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE outbox SET body = $3 WHERE id = $1 AND body = $2`, old.ID, old.Bytes, resealed)
	return n == 1, err
}

// Waiting is the state of the messages of one kind.
type Waiting struct {
	Kind   Kind
	N      int
	Oldest time.Time // when the oldest one was created
}

// Count returns how many messages of each kind wait. It leaves out kinds without messages.
func Count(ctx context.Context, q db.Querier) ([]Waiting, error) {
	all, err := db.All(ctx, q, `SELECT kind, count(*), MIN(created_at) FROM outbox GROUP BY kind ORDER BY kind`, nil, func(scan db.Scan) (w Waiting, err error) {
		var oldest db.At
		err = scan(&w.Kind, &w.N, &oldest)
		w.Oldest = oldest.Time
		return w, err
	})
	if err != nil {
		return nil, fmt.Errorf("count messages: %w", err)
	}
	return all, nil
}

// clean returns text of the other side in a form that is safe for a log and a terminal: printable
// characters, at most [maxError] bytes.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	for cut := min(len(text), maxError); ; cut-- {
		if cut == len(text) || text[cut]&0xc0 != 0x80 { // cut isn't within a character
			return text[:cut]
		}
	}
}
