package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Batch is the largest number of events that one transaction seals or prunes. SQLite has one
// writer, and a sign-in must not wait for it longer than a few milliseconds.
const Batch = 200

// Purposes of signatures. A signature for one purpose doesn't verify for another.
const (
	forEvent      = "audit event v1" // for an event without ActorID, ClientID and Reason
	forExtended   = "audit event v2" // for an event with at least one of them
	forCheckpoint = "audit checkpoint v1"
)

// Head is an event's place in the chain and the MAC that seals it and, through it, all
// events before. Its zero value is the place before the first event.
type Head = secret.Head

// headOf returns the place and the MAC of a sealed event.
func headOf(e Event) Head { return Head{Seq: e.Seq, MAC: e.MAC} }

// Waiting returns the time of the oldest event that is not sealed yet, or the zero time if all
// are sealed.
func Waiting(ctx context.Context, q db.Querier) (time.Time, error) {
	var oldest db.At
	if err := db.One(ctx, q, `SELECT MIN(at) FROM events WHERE seq IS NULL`, nil, &oldest); err != nil {
		return time.Time{}, fmt.Errorf("look for unsealed events: %w", err)
	}
	return oldest.Time, nil
}

// Seal seals up to [Batch] events, oldest first, in one transaction. Each event gets the next
// number, and a signature over the previous MAC, that number and the whole content of the event.
// The key is the one that signed the head. It stays the same on all nodes, whatever their rings
// hold, until [HandOver]. Seal returns the new head and how many events it sealed, which is 0 if
// another node sealed at the same time.
func Seal(ctx context.Context, d *db.DB, ring *secret.Ring) (head Head, n int, err error) {
	err = d.Write(ctx, func(tx *db.Tx) error {
		head, n, err = seal(ctx, tx, ring)
		return err
	})
	if err != nil {
		return Head{}, 0, fmt.Errorf("seal audit events: %w", err)
	}
	return head, n, nil
}

func seal(ctx context.Context, tx *db.Tx, ring *secret.Ring) (Head, int, error) {
	old, err := readHead(ctx, tx)
	if err != nil {
		return Head{}, 0, err
	}
	signer, err := signerAfter(ring, old)
	if err != nil {
		return Head{}, 0, err
	}
	return sealBehind(ctx, tx, old, signer)
}

// CanSeal returns an error if this node's ring lacks the key that seals the chain.
// Another node should then seal.
func CanSeal(ctx context.Context, q db.Querier, ring *secret.Ring) error {
	head, err := readHead(ctx, q)
	if err == nil {
		_, err = signerAfter(ring, head)
	}
	if err != nil {
		return fmt.Errorf("seal audit events: %w", err)
	}
	return nil
}

func signerAfter(ring *secret.Ring, head Head) (secret.Signer, error) {
	signer, err := ring.SignerAfter(head.MAC)
	if err != nil {
		return signer, fmt.Errorf("event %d was %w: copy the newest key ring to this node; if it has the newest, run: sallyport audit verify", head.Seq, err)
	}
	return signer, nil
}

// HandOver calls record, which appends the event of the rotation, and then continues the chain with
// the signer of ring's sealing key. It does so in one transaction that locks the head, so that no
// other node can seal in between; afterwards all nodes seal with that signer. It returns a head
// that the new signer signed, for [secret.RotateKeys] to store in the ring. A ring with that head
// accepts no later signature of an older key. If more than [Batch] events are unsealed, the rest is
// sealed later.
func HandOver(ctx context.Context, d *db.DB, ring *secret.Ring, record func(*db.Tx) error) (head Head, err error) {
	err = d.Write(ctx, func(tx *db.Tx) error {
		old, err := lockHead(ctx, tx)
		if err != nil {
			return err
		}
		if err := record(tx); err != nil {
			return err
		}
		if err := resignCheckpoint(ctx, tx, ring); err != nil {
			return err
		}
		head, _, err = sealBehind(ctx, tx, old, ring.Signer())
		if err == nil && head.Seq <= 0 {
			err = errors.New("somebody changed the record of the head; see \"sallyport audit verify\"")
		}
		return err
	})
	if err != nil {
		return Head{}, fmt.Errorf("continue the audit log under the new key: %w", err)
	}
	return head, nil
}

func sealBehind(ctx context.Context, tx *db.Tx, old Head, signer secret.Signer) (Head, int, error) {
	// Read the events after the head. If another node sealed some in between, the
	// head has changed, and the update below matches no row.
	events, err := unsealedEvents(ctx, tx, Event{}, Batch)
	if err != nil || len(events) == 0 {
		return old, 0, err
	}
	// A newer program's events may have fields that this one wouldn't sign. Verify would then
	// always report the events as changed. A requirement that was set after the events were read
	// doesn't concern them.
	if err := db.CheckUsable(ctx, tx); err != nil {
		return Head{}, 0, err
	}
	head := old
	for i := range events {
		events[i].Seq = head.Seq + 1
		events[i].MAC = signer.Sign(events[i].purpose(), link(head, events[i]))
		head = headOf(events[i])
	}
	// Of several concurrent sealers, only one updates the head. The others don't seal.
	moved, err := db.Exec(ctx, tx, `UPDATE audit_head SET seq = $2, mac = $3 WHERE seq = $1`, old.Seq, head.Seq, head.MAC)
	if err != nil || moved == 0 {
		return Head{}, 0, err
	}
	for _, e := range events {
		n, err := db.Exec(ctx, tx, `UPDATE events SET seq = $2, mac = $3, sealed_form = $4 WHERE id = $1 AND seq IS NULL`, e.ID, e.Seq, e.MAC, e.sealedForm())
		if err != nil {
			return Head{}, 0, err
		}
		if n != 1 {
			return Head{}, 0, fmt.Errorf("event %s was sealed or deleted meanwhile", e.ID)
		}
	}
	return head, len(events), nil
}

// End returns the head of the chain, as it is recorded.
func End(ctx context.Context, q db.Querier) (Head, error) {
	head, err := readHead(ctx, q)
	if err != nil {
		return Head{}, fmt.Errorf("read the end of the audit log: %w", err)
	}
	return head, nil
}

// errNoHead means that the record of the head was deleted.
var errNoHead = errors.New("the record of the head is gone; see \"sallyport audit verify\"")

const selectHead = `SELECT seq, mac FROM audit_head`

// readHead returns the record of the head, or [errNoHead].
func readHead(ctx context.Context, q db.Querier) (Head, error) { return queryHead(ctx, q, selectHead) }

// lockHead is like [readHead], and also locks the record until tx ends.
func lockHead(ctx context.Context, tx *db.Tx) (Head, error) {
	return queryHead(ctx, tx, selectHead+` FOR NO KEY UPDATE`)
}

func queryHead(ctx context.Context, q db.Querier, query string) (Head, error) {
	var h Head
	err := db.One(ctx, q, query, nil, &h.Seq, &h.MAC)
	if errors.Is(err, db.ErrNotFound) {
		err = errNoHead
	}
	return h, err
}

// link returns the bytes that are signed to seal e after prev. Every part is preceded
// by its length, so that no two events give the same bytes.
func link(prev Head, e Event) []byte {
	b := appendBytes(nil, prev.MAC)
	b = appendInt(b, prev.Seq+1)
	b = appendBytes(b, []byte(e.ID))
	b = appendInt(b, e.At.UnixMilli())
	for _, text := range []string{e.AccountID, e.Actor, string(e.Kind), e.Outcome, e.Detail} {
		b = appendBytes(b, []byte(text))
	}
	b = appendInt(b, int64(e.Number))
	for _, text := range []string{e.Address, e.Browser, e.AuthenticatorID} {
		b = appendBytes(b, []byte(text))
	}
	if e.isExtended() {
		for _, text := range []string{e.ActorID, e.ClientID, e.Reason} {
			b = appendBytes(b, []byte(text))
		}
	}
	return b
}

// purpose returns the purpose of the signature over the event. Events that lack the fields of
// the second form are signed as they always were, so that old logs verify.
func (e Event) purpose() string {
	if e.isExtended() {
		return forExtended
	}
	return forEvent
}

// sealedForm returns the value of the column sealed_form: NULL for an event of the first form.
// For an event of the second form, a constraint of the table demands a value. An earlier version
// would sign such an event in the first form, but stores no value, so the constraint keeps it
// from sealing the event. No query reads the column.
func (e Event) sealedForm() any {
	if e.isExtended() {
		return 2
	}
	return nil
}

func appendBytes(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

// follows reports whether e was sealed directly after prev, wherever it is now, with a key that
// was valid at that place, and is stored as [Append] stores it.
func follows(ring *secret.Ring, prev Head, e Event) bool {
	return !e.notCanonical && ring.VerifyAt(e.purpose(), link(prev, e), Head{Seq: prev.Seq + 1, MAC: e.MAC}) == nil
}
