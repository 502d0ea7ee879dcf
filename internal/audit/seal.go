package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Batch is how many events one transaction seals or prunes at most: SQLite has
// one writer, and a sign-in must not wait for it longer than some
// milliseconds.
const Batch = 200

// What signatures are for; one is never taken for the other.
const (
	forEvent      = "audit event v1"
	forCheckpoint = "audit checkpoint v1"
)

// Head is an event's place in the chain and the MAC that seals it and, through
// it, all before. Its zero value is the place before the first event.
type Head struct {
	Seq int64
	MAC []byte
}

// String returns the number, a colon and the MAC in hexadecimal, as
// [ParseHead] reads it.
func (h Head) String() string { return strconv.FormatInt(h.Seq, 10) + ":" + hex.EncodeToString(h.MAC) }

// ParseHead reads what [Head.String] wrote.
func ParseHead(text string) (Head, error) {
	seq, mac, _ := strings.Cut(text, ":")
	var (
		h          Head
		err1, err2 error
	)
	h.Seq, err1 = strconv.ParseInt(seq, 10, 64)
	h.MAC, err2 = hex.DecodeString(mac)
	if err1 != nil || err2 != nil || h.Seq < 1 || len(h.MAC) == 0 {
		return Head{}, errors.New("a head is NUMBER:HEX, as the line \"audit sealed\" of the server's log has it")
	}
	return h, nil
}

// headOf returns the event's place.
func headOf(e Event) Head { return Head{e.Seq, e.MAC} }

// Waiting returns the time of the oldest event that waits to be sealed; the
// zero time where none does.
func Waiting(ctx context.Context, q db.Querier) (time.Time, error) {
	var oldest db.At
	if err := db.One(ctx, q, `SELECT MIN(at) FROM events WHERE seq IS NULL`, nil, &oldest); err != nil {
		return time.Time{}, fmt.Errorf("look for unsealed events: %w", err)
	}
	return oldest.Time, nil
}

// Seal seals up to [Batch] waiting events, oldest first, in one transaction:
// each gets the next number, and a signature ([secret.Ring.Sign]) of the MAC
// before it, that number and everything the event says. It returns the new
// head and how many were sealed; none where another sealer was faster.
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
	if errors.Is(err, db.ErrNotFound) {
		return Head{}, 0, errors.New("the record of the head is gone; see \"sallyport audit verify\"")
	}
	if err != nil {
		return Head{}, 0, err
	}
	// After the head: what another sealer has sealed since would be missing
	// here, and then the statement below finds another head.
	events, err := waiting(ctx, tx, Event{}, Batch)
	if err != nil || len(events) == 0 {
		return old, 0, err
	}
	head := old
	for i := range events {
		events[i].Seq = head.Seq + 1
		events[i].MAC = ring.Sign(forEvent, link(head, events[i]))
		head = headOf(events[i])
	}
	// Of many sealers one moves the head on; the others have sealed nothing.
	moved, err := db.Exec(ctx, tx, `UPDATE audit_head SET seq = $2, mac = $3 WHERE seq = $1`, old.Seq, head.Seq, head.MAC)
	if err != nil || moved == 0 {
		return Head{}, 0, err
	}
	for _, e := range events {
		n, err := db.Exec(ctx, tx, `UPDATE events SET seq = $2, mac = $3 WHERE id = $1 AND seq IS NULL`, e.ID, e.Seq, e.MAC)
		if err != nil {
			return Head{}, 0, err
		}
		if n != 1 {
			return Head{}, 0, fmt.Errorf("event %s was sealed or deleted meanwhile", e.ID)
		}
	}
	return head, len(events), nil
}

func readHead(ctx context.Context, q db.Querier) (Head, error) {
	var h Head
	err := db.One(ctx, q, `SELECT seq, mac FROM audit_head`, nil, &h.Seq, &h.MAC)
	return h, err
}

// link returns what is signed to seal e behind prev: every part with its
// length, so that no two events have the same.
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
	return b
}

func appendBytes(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

// follows reports whether e was sealed right behind prev, wherever it stands
// now.
func follows(ring *secret.Ring, prev Head, e Event) bool {
	return ring.Verify(forEvent, link(prev, e), e.MAC) == nil
}

func (h Head) equal(other Head) bool { return h.Seq == other.Seq && bytes.Equal(h.MAC, other.MAC) }
