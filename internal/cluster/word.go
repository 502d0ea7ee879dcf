package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/db"
)

// Word names something that programs of earlier versions can't read. Each node reports the
// words that it knows. See [Use].
type Word struct {
	Name    string // without spaces
	Version int64  // the lowest schema version of a program that knows the word
}

// Audit2: audit events have an actor's id, a client's id and a reason, which their seals cover.
var Audit2 = Word{"audit2", 13}

// Roles: accounts have the roles auditor and helpdesk.
var Roles = Word{"roles", 18}

// MailedLinks: an operator's link that was mailed permits less than one that was handed over.
var MailedLinks = Word{"mailed_links", 19}

// words are all that this program knows, sorted by name.
var words = []Word{Audit2, MailedLinks, Roles}

// ErrNotYet means that a node runs an earlier version, which couldn't read what the caller is
// about to store. Errors that wrap it name the nodes.
var ErrNotYet = errors.New("some nodes run an earlier version, which doesn't know this yet; nothing was changed: upgrade all nodes, and try again")

// Use must be called before tx stores data that only programs with the word w can read. If a live
// node runs a program without the word, Use returns an error that wraps [ErrNotYet], and the
// caller must not store such data. Otherwise it calls [db.Require], so that once tx is committed,
// an older program can't become a node any more.
//
// A node counts as live until its report is removed. That happens when the node stops. If it was
// killed, it happens when another node reports after the report has expired. A server on SQLite
// counts too, since a command of a newer version may run beside it.
//
// Use may lock the row of the table schema. Before the call, tx must have read or changed every
// table that it uses afterwards; see [db.LockUsable].
func Use(ctx context.Context, tx *db.Tx, w Word) error {
	// This check is needed even if older programs can't start any more: programs of version 12
	// and earlier don't check the schema when they report, so a frozen node may have become live
	// again.
	if err := checkAllKnow(ctx, tx, w); err != nil {
		return err
	}
	since, err := db.UsableSince(ctx, tx)
	if err != nil || since >= w.Version {
		return err
	}
	// From the lock on, an older node that reports waits for the end of tx, and then learns that
	// it is too old. If it reported before the lock, the check after the lock finds its report.
	if err := db.LockUsable(ctx, tx); err != nil {
		return err
	}
	if err := checkAllKnow(ctx, tx, w); err != nil {
		return err
	}
	return db.Require(ctx, tx, w.Version)
}

// checkAllKnow returns an error that wraps [ErrNotYet] if a node has reported without the word.
func checkAllKnow(ctx context.Context, tx *db.Tx, w Word) error {
	type report struct{ name, knows string }
	reports, err := db.All(ctx, tx, `SELECT name, knows FROM nodes ORDER BY name, id`, nil, func(scan db.Scan) (r report, err error) {
		err = scan(&r.name, &r.knows)
		return r, err
	})
	if err != nil {
		return fmt.Errorf("list what nodes know: %w", err)
	}
	var names []string
	for _, r := range reports {
		if !slices.Contains(strings.Fields(r.knows), w.Name) {
			names = append(names, r.name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s", ErrNotYet, strings.Join(names, ", "))
	}
	return nil
}

// known returns the names of all words of this program in the form of a report: separated by
// spaces.
func known() string {
	var names []string
	for _, w := range words {
		names = append(names, w.Name)
	}
	return strings.Join(names, " ")
}
