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

// broken returns the [*Fault] at the place after report.Head, where the next sealed
// event, found, doesn't belong. The MACs show what was done: an event's MAC shows
// which event it followed when it was sealed, wherever the two are now.
func broken(ctx context.Context, q db.Querier, ring *secret.Ring, report Report, found *Event) error {
	b := breach{ring: ring, prev: report.Head, found: *found}
	switch head, err := readHead(ctx, q); {
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
			b.examine(e)
			after = e
		}
	}
}

// breach collects what the stored events show about the first place that isn't as
// it was sealed.
type breach struct {
	ring  *secret.Ring
	prev  Head // the last place that is as it was sealed
	found Event
	head  *Head // the record of the end; nil if it was deleted
	last  int64 // the last place at which there is an event

	belongs *Event // the event that was sealed after prev, wherever it is now
	origin  int64  // the place at which found was sealed; 0 if unknown
	shifted bool   // the event after found was sealed at a later place
}

// examine adds what one sealed event shows.
func (b *breach) examine(e Event) {
	if follows(b.ring, b.prev, e) {
		b.belongs = &e
	}
	if e.ID == b.found.ID {
		return
	}
	// e itself may have been shifted by one place to either side, so try all three
	// places at which it may have been sealed.
	for seq := e.Seq - 1; seq <= e.Seq+1; seq++ {
		if follows(b.ring, Head{Seq: seq, MAC: e.MAC}, b.found) {
			b.origin = seq + 1
		}
	}
	if e.Seq == b.found.Seq+1 && b.shortfall() > 0 {
		b.shifted = b.shifted || follows(b.ring, Head{Seq: b.found.Seq + b.shortfall(), MAC: b.found.MAC}, e)
	}
}

// shortfall returns how many places the last event is before the recorded end. If events were
// deleted and the later events renumbered, each later event is that many places too early.
func (b *breach) shortfall() int64 {
	if b.head == nil {
		return 0
	}
	return max(0, b.head.Seq-b.last)
}

// fault returns the most likely explanation of the breach.
func (b *breach) fault() *Fault {
	place := b.prev.Seq + 1
	found, belongs := b.found, b.belongs
	if belongs != nil && found.ID != belongs.ID && follows(b.ring, Head{Seq: place, MAC: belongs.MAC}, found) {
		b.origin = place + 1
		if belongs.Seq > place+1 {
			// It was moved to a later place, and the events between moved up by one.
			return moved(*belongs, place)
		}
	}
	if b.shortfall() > 0 && b.last == found.Seq && bytes.Equal(b.head.MAC, found.MAC) {
		b.shifted = true // found is the last event that was sealed
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
		return deleted(place, place+b.shortfall()-1)
	default:
		text := describe(found, place) + " was changed"
		switch err := b.ring.VerifyAt(found.purpose(), link(b.prev, found), Head{Seq: place, MAC: found.MAC}); {
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

// describe names an event by its place and its present content.
func describe(e Event, seq int64) string {
	return fmt.Sprintf("event %d (%s, %s, id %s)", seq, e.At.UTC().Format(time.RFC3339), Clean(string(e.Kind), maxDetail), Clean(e.ID, maxDetail))
}
