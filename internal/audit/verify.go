package audit

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// FaultKind says what was done to the log.
type FaultKind string

// The kinds of faults.
const (
	Changed    FaultKind = "changed"
	Deleted    FaultKind = "deleted"
	Inserted   FaultKind = "inserted"
	Moved      FaultKind = "moved"
	Cut        FaultKind = "cut" // the end was deleted
	BadHead    FaultKind = "head"
	Checkpoint FaultKind = "checkpoint"
)

// Fault is the first place at which the log isn't as it was sealed.
type Fault struct {
	Kind FaultKind
	Seq  int64  // the place in the chain
	ID   string // of the event that is at this place or was moved from it; may be empty
	Text string // a sentence that says all of this
}

// Error returns f.Text.
func (f *Fault) Error() string { return f.Text }

// Report says what was verified.
type Report struct {
	Pruned Head  // the last checkpoint: retention deleted the events up to it
	Head   Head  // the last event of the chain
	Events int64 // the number of verified events
}

// Verify walks the chain from the last checkpoint to its head. It returns a [*Fault]
// if the log isn't as it was sealed. want is a head from the server's log, or zero. If
// it isn't zero, that event must be in the chain: only this check detects that the end
// was cut off together with the record of the head. Verify may run beside a server that
// seals and prunes.
func Verify(ctx context.Context, q db.Querier, ring *secret.Ring, want Head) (Report, error) {
	for {
		points, err := checkpoints(ctx, q, ring)
		if err != nil {
			return Report{}, err
		}
		report, err := verifyFrom(ctx, q, ring, points, want)
		if fault := (*Fault)(nil); !errors.As(err, &fault) {
			return report, err
		}
		// If a server has pruned meanwhile, verify what is left of the chain.
		again, err2 := checkpoints(ctx, q, ring)
		if err2 != nil {
			return Report{}, err2
		}
		if len(again) == len(points) {
			return report, err
		}
	}
}

func verifyFrom(ctx context.Context, q db.Querier, ring *secret.Ring, points []checkpoint, want Head) (Report, error) {
	var report Report
	if len(points) > 0 {
		report.Pruned = points[len(points)-1].Head
	}
	report.Head = report.Pruned
	witnessed := want.Seq == 0
	for _, p := range points {
		witnessed = witnessed || p.Head.Equal(want)
	}
	after := Event{Seq: math.MinInt64}
	for settled := false; ; {
		events, err := sealedAfter(ctx, q, after, page)
		if err != nil {
			return report, err
		}
		for _, e := range events {
			if e.Seq != report.Head.Seq+1 || !follows(ring, report.Head, e) {
				return report, broken(ctx, q, ring, report, &e)
			}
			report.Head = headOf(e)
			report.Events++
			witnessed = witnessed || report.Head.Equal(want)
			after = e
		}
		if len(events) > 0 {
			settled = false
			continue
		}
		head, err := readHead(ctx, q)
		if err != nil && !errors.Is(err, errNoHead) {
			return report, err
		}
		switch {
		case err == nil && head.Equal(report.Head):
			if err := missing(ring, report.Head); err != nil {
				return report, err
			}
			return report, witness(report, want, witnessed)
		case err == nil && head.Seq > report.Head.Seq && !settled:
			settled = true // events may have been sealed since the last read: read once more
		case err == nil && head.Seq > report.Head.Seq:
			return report, &Fault{Kind: Cut, Seq: report.Head.Seq + 1,
				Text: fmt.Sprintf("the end was cut off: %s missing", places(report.Head.Seq+1, head.Seq))}
		default:
			return report, &Fault{Kind: BadHead, Seq: report.Head.Seq,
				Text: fmt.Sprintf("the record of the head was changed or deleted; the chain itself is intact up to event %d", report.Head.Seq)}
		}
	}
}

// missing returns a [*Fault] if the chain ends before a change of the key by [HandOver] that the
// key ring records. [Verify] has already checked the changes within the chain.
func missing(ring *secret.Ring, end Head) error {
	for _, head := range ring.Handovers() {
		if head.Seq > end.Seq {
			return &Fault{Kind: Cut, Seq: end.Seq + 1,
				Text: fmt.Sprintf("the end was cut off: event %d was sealed when the keys were rotated, as the key ring says, but the log ends with event %d", head.Seq, end.Seq)}
		}
	}
	return nil
}

// witness returns an error if want, a head from the server's log, isn't in the chain.
// found says whether it is.
func witness(r Report, want Head, found bool) error {
	switch {
	case found:
		return nil
	case want.Seq > r.Head.Seq:
		return &Fault{Kind: Cut, Seq: r.Head.Seq + 1,
			Text: fmt.Sprintf("the end was cut off: event %d was sealed, but the log ends with event %d", want.Seq, r.Head.Seq)}
	case want.Seq <= r.Pruned.Seq:
		return fmt.Errorf("event %d is older than audit.keep and was deleted, so this head can't be compared any more; give a later one", want.Seq)
	default:
		return &Fault{Kind: Cut, Seq: want.Seq,
			Text: fmt.Sprintf("event %d isn't the one that was sealed with this head: the end was cut off before it, and the log continued from there", want.Seq)}
	}
}

func places(first, last int64) string {
	if first == last {
		return fmt.Sprintf("event %d is", first)
	}
	return fmt.Sprintf("events %d to %d are", first, last)
}
