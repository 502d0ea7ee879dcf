package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// broken returns the fault at the place behind report.Head, where found, the
// next sealed event, doesn't belong. MACs tell what happened: an event's own
// shows which event it stood behind, wherever either stands now.
func broken(ctx context.Context, q db.Querier, ring *secret.Ring, report Report, found *Event) error {
	b := breach{ring: ring, prev: report.Head, found: *found}
	switch head, err := readHead(ctx, q, ""); {
	case err == nil:
		b.head = &head
	case !errors.Is(err, errNoHead):
		return err
	}
	if err := db.One(ctx, q, `SELECT MAX(seq) FROM events`, nil, &b.last); err != nil {
		return fmt.Errorf("read sealed events: %w", err)
	}
	if follows(ring, report.Pruned, b.found) {
		b.origin = report.Pruned.Seq + 1
	}
	for after := (Event{Seq: math.MinInt64}); ; {
		events, err := sealedAfter(ctx, q, after, page)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return b.fault()
		}
		for _, e := range events {
			b.see(e)
			after = e
		}
	}
}

// breach is what the stored events tell about the first place that isn't as
// it was sealed.
type breach struct {
	ring  *secret.Ring
	prev  Head // the last place that is as it was sealed
	found Event
	head  *Head // the record of the end; nil where it is gone
	last  int64 // the last place that is taken

	belongs *Event // the event that was sealed behind prev, wherever it stands
	origin  int64  // where found was sealed; 0 unless known
	shifted bool   // what stands behind found was sealed further behind
}

// see takes in one of the sealed events.
func (b *breach) see(e Event) {
	if follows(b.ring, b.prev, e) {
		b.belongs = &e
	}
	if e.ID == b.found.ID {
		return
	}
	// Where e was sealed is unknown when it was shifted itself: by one place,
	// to either side.
	for seq := e.Seq - 1; seq <= e.Seq+1; seq++ {
		if follows(b.ring, Head{Seq: seq, MAC: e.MAC}, b.found) {
			b.origin = seq + 1
		}
	}
	if e.Seq == b.found.Seq+1 && b.short() > 0 {
		b.shifted = b.shifted || follows(b.ring, Head{Seq: b.found.Seq + b.short(), MAC: b.found.MAC}, e)
	}
}

// short returns how many places the end is short of its record: so much too
// early stands what was renumbered behind deleted events.
func (b *breach) short() int64 {
	if b.head == nil {
		return 0
	}
	return max(0, b.head.Seq-b.last)
}

func (b *breach) fault() *Fault {
	place := b.prev.Seq + 1
	found, belongs := b.found, b.belongs
	if belongs != nil && found.ID != belongs.ID && follows(b.ring, Head{Seq: place, MAC: belongs.MAC}, found) {
		b.origin = place + 1
		if belongs.Seq > place+1 {
			// The rest closed up behind it.
			return moved(*belongs, place)
		}
	}
	if b.short() > 0 && b.last == found.Seq && bytes.Equal(b.head.MAC, found.MAC) {
		b.shifted = true // found is the true end
	}
	switch {
	case found.Seq > place && belongs != nil:
		return moved(*belongs, place)
	case found.Seq > place && (b.head == nil || b.head.Seq >= place):
		return deleted(place, found.Seq-1)
	case b.origin != 0 && b.origin != found.Seq:
		return moved(found, b.origin)
	case found.Seq < place || belongs != nil || b.head != nil && found.Seq > b.head.Seq:
		return &Fault{Kind: Inserted, Seq: found.Seq, ID: found.ID, Text: describe(found, found.Seq) + " was inserted"}
	case b.shifted:
		return deleted(place, place+b.short()-1)
	default:
		text := describe(found, place) + " was changed"
		switch err := b.ring.VerifyAt(forEvent, link(b.prev, found), Head{Seq: place, MAC: found.MAC}); {
		case errors.Is(err, secret.ErrUnknownKey):
			text += ", or sealed under a key that is not in the key ring"
		case errors.Is(err, secret.ErrEnded):
			text = describe(found, place) + " was sealed under an old key after a newer one had replaced it"
		case place > 1 && secret.KeyOf(b.prev.MAC) != secret.KeyOf(found.MAC):
			text += ", or those before it were forged under an old key"
		}
		return &Fault{Kind: Changed, Seq: place, ID: found.ID, Text: text}
	}
}

func moved(e Event, from int64) *Fault {
	return &Fault{Kind: Moved, Seq: from, ID: e.ID,
		Text: fmt.Sprintf("%s was moved to place %d", describe(e, from), e.Seq)}
}

func deleted(first, last int64) *Fault {
	text := fmt.Sprintf("event %d was deleted", first)
	if last > first {
		text = fmt.Sprintf("events %d to %d were deleted", first, last)
	}
	return &Fault{Kind: Deleted, Seq: first, Text: text}
}

// describe names an event by its number and what it says now.
func describe(e Event, seq int64) string {
	return fmt.Sprintf("event %d (%s, %s, id %s)", seq, e.At.UTC().Format(time.RFC3339), Clean(string(e.Kind), maxDetail), Clean(e.ID, maxDetail))
}
