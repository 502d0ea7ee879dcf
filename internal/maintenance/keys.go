package maintenance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/secret"
)

// RingEvery is how often a server looks at the key ring's file, at most: a look is
// a stat, and for so long the server may go on sealing under the earlier key.
const RingEvery = time.Second

// sealedColumn is a column that holds sealed secrets.
type sealedColumn struct {
	name   string
	list   func(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error)
	reseal func(ctx context.Context, tx *db.Tx, was secret.Sealed, anew []byte) (bool, error)
}

// sealedColumns are all of them.
var sealedColumns = []sealedColumn{
	{"passwords.phc", password.Sealed, password.Reseal},
	{"totp.secret", totp.Sealed, totp.Reseal},
	{"backup_codes.hash", backupcode.Sealed, backupcode.Reseal},
}

// Keys is the database and its key ring, for the commands that fix what keeps
// a portal from opening.
type Keys struct {
	DB   *db.DB
	Ring *secret.Ring
	From secret.Source
	// now is the machine's clock.
	now func() time.Time
	// stored is the ring as it was read.
	stored *secret.Ring
	// patience is how long nodes may take to report a key.
	patience time.Duration
	// pause waits until every server on this machine has seen a new ring.
	pause func(context.Context) error
}

// OpenKeys opens them without asking whether they belong together: that is for
// [Keys.Check] to say. now is the machine's clock.
func OpenKeys(ctx context.Context, database Database, from secret.Source, now func() time.Time) (*Keys, error) {
	ring, err := from.Read(ctx)
	if err != nil {
		return nil, err
	}
	// Opening it would make an empty one, in the way of a restore.
	if err := database.Exists(ctx); err != nil {
		return nil, err
	}
	d, err := database.Open(ctx)
	if err != nil {
		return nil, err
	}
	if from.IsWritable() {
		durable.RemoveLeftovers(filepath.Dir(from.Path), now())
	}
	keys := &Keys{DB: d, Ring: ring, From: from, now: now, stored: ring, patience: reportTime, pause: waitForServers}
	if !from.IsWritable() { // no server looks again
		keys.patience, keys.pause = 0, func(context.Context) error { return nil }
	}
	return keys, nil
}

// Close closes the database.
func (k *Keys) Close() error { return k.DB.Close() }

// waitForServers waits for two looks at the file: one may have begun before.
func waitForServers(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * RingEvery):
		return nil
	}
}

// SealedReport is what [Keys.Check] found.
type SealedReport struct {
	ByKey  map[string]int // secrets that open, by the id of their key
	Closed []Closed       // secrets that don't
}

// Closed is a sealed secret that doesn't open.
type Closed struct {
	Column, Row string
	Key         string // that sealed it
	Reason      error  // [secret.ErrUnknownKey] or [secret.ErrOpen]
}

// Check opens every sealed secret. The error says that it couldn't look, not
// what it found.
func (k *Keys) Check(ctx context.Context) (SealedReport, error) {
	found := SealedReport{ByKey: map[string]int{}}
	for _, column := range sealedColumns {
		for after := ""; ; {
			batch, err := column.list(ctx, k.DB.Reader(), after)
			if err != nil {
				return found, fmt.Errorf("read %s: %w", column.name, err)
			}
			if len(batch) == 0 {
				break
			}
			for _, one := range batch {
				if one.Place == (secret.Place{}) {
					continue // removed meanwhile
				}
				if _, err := k.Ring.Open(one.Place, one.Bytes); err != nil {
					found.Closed = append(found.Closed, Closed{Column: column.name, Row: one.ID, Key: secret.KeyOf(one.Bytes), Reason: err})
				} else {
					found.ByKey[secret.KeyOf(one.Bytes)]++
				}
			}
			after = batch[len(batch)-1].ID
		}
	}
	return found, ctx.Err()
}

// Sealing returns the id of the key that seals.
func (k *Keys) Sealing() string { return sealing(k.Ring) }

func sealing(ring *secret.Ring) string {
	for _, key := range ring.Keys() {
		if key.State == secret.KeySeals {
			return key.ID
		}
	}
	return ""
}

// Unstored returns the ring that the operator must store now, where it isn't
// ours to write and was changed; else nil.
func (k *Keys) Unstored() *secret.Ring {
	if k.From.IsWritable() || k.Ring.Text() == k.stored.Text() {
		return nil
	}
	return k.Ring
}

// Note appends to the audit log what the command line has done.
func (k *Keys) Note(ctx context.Context, kind audit.Kind, detail string, number int) error {
	// After Ctrl-C too: what was done was done.
	ctx = context.WithoutCancel(ctx)
	e, err := k.event(ctx, kind, detail, number)
	if err == nil {
		err = k.DB.Write(ctx, func(tx *db.Tx) error { return audit.Append(ctx, tx, e) })
	}
	if err != nil {
		return fmt.Errorf("the command succeeded, but couldn't be recorded in the audit log: %w", err)
	}
	return nil
}

// event returns an event of now. The command may run on another machine than
// the database.
func (k *Keys) event(ctx context.Context, kind audit.Kind, detail string, number int) (audit.Event, error) {
	now, err := k.DB.Clock(ctx, k.now())
	return audit.Event{At: now, Actor: audit.ByOperator, Kind: kind, Detail: detail, Number: number}, err
}

// handOver lets the audit log go on under the key that seals in ring.
func (k *Keys) handOver(ctx context.Context, ring *secret.Ring) (audit.Head, error) {
	e, err := k.event(ctx, audit.KeyRotated, sealing(ring), 0)
	if err != nil {
		return audit.Head{}, err
	}
	return audit.HandOver(ctx, k.DB, ring, e)
}

// Add appends a spare key to the ring and returns its id.
func (k *Keys) Add(ctx context.Context) (id string, err error) {
	ring, err := secret.AddKey(ctx, k.From)
	if err != nil {
		return "", err
	}
	k.Ring = ring
	keys := ring.Keys()
	id = keys[len(keys)-1].ID
	return id, k.Note(ctx, audit.KeyAdded, id, 0)
}

// Rewind makes the ring forget the hand-overs of the audit log that aren't in a
// restored database, since its log ends before them, and reports whether there
// were any. [Keys.Rotate] hands over again.
func (k *Keys) Rewind(ctx context.Context) (rewound bool, err error) {
	end, err := audit.End(ctx, k.DB.Reader())
	if err != nil {
		return false, err
	}
	before := k.Ring
	if k.Ring, err = secret.ForgetHandovers(ctx, k.From, end.Seq); err != nil {
		k.Ring = before
		return false, err
	}
	return k.Ring.Text() != before.Text(), nil
}

// Rotate makes the newest key the one that seals and seals every secret under
// it, beside running servers, once all of them have it; else it is
// [ErrNotSpread]. It returns how many it sealed anew. After it was
// killed, run it again: what is done stays done. Secrets that don't open stay
// as they are. The audit log goes on under the new key before any secret does,
// so that every database whose secrets are all under it has the hand-over. If
// that fails, secrets are sealed anew all the same.
func (k *Keys) Rotate(ctx context.Context) (resealed int, err error) {
	n, err := k.rotate(ctx, sealedColumns)
	if n > 0 {
		err = errors.Join(err, k.Note(ctx, audit.SecretsResealed, k.Sealing(), n))
	}
	return n, err
}

func (k *Keys) rotate(ctx context.Context, columns []sealedColumn) (resealed int, err error) {
	newest, err := k.spread(ctx)
	if err != nil {
		return 0, err
	}
	var notHandedOver error
	ring, err := secret.RotateKeys(ctx, k.From, newest, func(rotated *secret.Ring) (head audit.Head) {
		head, notHandedOver = k.handOver(ctx, rotated)
		return head
	})
	if err != nil {
		return 0, err
	}
	k.Ring = ring
	// A server that doesn't know yet would seal under the old key what this
	// pass has left behind. A run before, killed, may have written the file
	// just now: so wait in any case.
	if err := k.pause(ctx); err != nil {
		return 0, err
	}
	for _, column := range columns {
		for after := ""; ; {
			batch, err := column.list(ctx, k.DB.Reader(), after)
			if err != nil {
				return resealed, fmt.Errorf("read %s: %w", column.name, err)
			}
			if len(batch) == 0 {
				break
			}
			for some := range slices.Chunk(batch, k.DB.RowsPerWrite(len(batch))) {
				n, err := k.resealAll(ctx, some, column)
				if err != nil {
					return resealed, fmt.Errorf("seal %s anew: %w", column.name, err)
				}
				resealed += n
			}
			after = batch[len(batch)-1].ID
		}
	}
	return resealed, notHandedOver
}

// resealAll seals secrets anew in one transaction, and returns how many it did.
func (k *Keys) resealAll(ctx context.Context, all []secret.Sealed, column sealedColumn) (n int, err error) {
	err = k.DB.Write(ctx, func(tx *db.Tx) error {
		n = 0
		for _, one := range all {
			changed, err := k.reseal(ctx, tx, one, column)
			if err != nil {
				return err
			}
			if changed {
				n++
			}
		}
		return nil
	})
	return n, err
}

func (k *Keys) reseal(ctx context.Context, tx *db.Tx, one secret.Sealed, column sealedColumn) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err // Ctrl-C: the batch of so far isn't stored
	}
	if secret.KeyOf(one.Bytes) == k.Sealing() || one.Place == (secret.Place{}) {
		return false, nil
	}
	plain, err := k.Ring.Open(one.Place, one.Bytes)
	if err != nil {
		return false, nil // Check names it
	}
	return column.reseal(ctx, tx, one, k.Ring.Seal(one.Place, plain))
}

// ErrInUse: old keys can't be dropped, since a secret isn't sealed under the
// newest one.
var ErrInUse = errors.New("old keys are still needed, or a secret doesn't open; nothing was dropped. \"sallyport key check\" shows which: put back the missing key, or reset those accounts (account set-password, account reset-two-factor), then run this command again")

// ErrUnstored: a server that starts now would seal under an old key.
var ErrUnstored = errors.New("nothing was dropped: store the ring first, restart every server, then run this command again")

// Drop removes the old keys from the ring once nothing is sealed under them,
// or returns [ErrInUse]; [ErrUnstored] where the operator has yet to store the
// rotated ring. Call it after [Keys.Rotate].
func (k *Keys) Drop(ctx context.Context) (dropped int, err error) {
	sealing := k.Sealing()
	if k.Unstored() != nil {
		return 0, ErrUnstored
	}
	found, err := k.Check(ctx)
	if err != nil {
		return 0, err
	}
	delete(found.ByKey, sealing)
	if len(found.Closed) > 0 || len(found.ByKey) > 0 {
		return 0, ErrInUse
	}
	before := len(k.Ring.Keys())
	ring, err := secret.DropOldKeys(ctx, k.From, sealing)
	if err != nil {
		return 0, err
	}
	k.Ring = ring
	if dropped = before - len(ring.Keys()); dropped > 0 {
		err = k.Note(ctx, audit.KeysDropped, "", dropped)
	}
	return dropped, err
}
