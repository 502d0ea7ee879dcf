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
	"github.com/sallyport/sallyport/internal/journal"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// RingEvery is the shortest interval at which a server checks the key ring's file for changes. For
// this long after a change, a server may still seal under the earlier key.
const RingEvery = time.Second

// sealedColumn is a column that holds sealed secrets.
type sealedColumn struct {
	name   string
	list   func(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error)
	reseal func(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error)
}

// sealedColumns lists all columns that hold sealed secrets.
var sealedColumns = []sealedColumn{
	{"passwords.phc", password.Sealed, password.Reseal},
	{"totp.secret", totp.Sealed, totp.Reseal},
	{"backup_codes.hash", backupcode.Sealed, backupcode.Reseal},
	{"outbox.body", outbox.Sealed, outbox.Reseal},
	{"tickets.data", ticket.Sealed, ticket.Reseal},
}

// Keys is an open database with its key ring. The commands use it to check and to rotate
// keys, and to repair a portal that doesn't start. It is for one goroutine.
type Keys struct {
	DB   *db.DB
	Ring *secret.Ring
	From secret.Source
	// now is the machine's clock.
	now func() time.Time
	// stored is the ring as [OpenKeys] read it.
	stored *secret.Ring
	// patience is how long a rotation waits for the nodes to report a key.
	patience time.Duration
	// pause waits until every server on this machine has read a new ring.
	pause func(context.Context) error
}

// OpenKeys opens the database and reads the key ring. It doesn't check that the ring belongs to the
// database; [Keys.Check] does. The parameter now reads the machine's clock.
func OpenKeys(ctx context.Context, database Database, from secret.Source, now func() time.Time) (*Keys, error) {
	ring, err := from.Read(ctx)
	if err != nil {
		return nil, err
	}
	// Open would create a missing database, and a later restore would be refused because of it.
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
	if !from.IsWritable() { // servers read the ring at their start only
		keys.patience, keys.pause = 0, func(context.Context) error { return nil }
	}
	return keys, nil
}

// Close closes the database.
func (k *Keys) Close() error { return k.DB.Close() }

// waitForServers waits for the time of two checks of the ring's file, since a server's first check
// may have begun before the change.
func waitForServers(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * RingEvery):
		return nil
	}
}

// SealedReport is the result of [Keys.Check].
type SealedReport struct {
	ByKey  map[string]int // the number of secrets that can be opened, by the id of their key
	Closed []Closed       // the secrets that can't be opened
}

// Closed is a sealed secret that can't be opened.
type Closed struct {
	Column, Row string
	Key         string // the id of the key that sealed it
	Reason      error  // [secret.ErrUnknownKey] or [secret.ErrOpen]
}

// Check opens every sealed secret. The report lists the secrets that can't be opened; an error
// means that the database couldn't be read.
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
					continue // the row was removed in between
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

// Unstored returns the changed ring if the operator must store it, because Sallyport can't write
// it, and otherwise nil.
func (k *Keys) Unstored() *secret.Ring {
	if k.From.IsWritable() || k.Ring.Text() == k.stored.Text() {
		return nil
	}
	return k.Ring
}

// Note appends an event to the audit log, as one that the command line caused.
func (k *Keys) Note(ctx context.Context, kind audit.Kind, detail string, number int) error {
	// Record what was done, even after Ctrl-C.
	ctx = context.WithoutCancel(ctx)
	e, err := k.event(ctx, kind, detail, number)
	if err == nil {
		err = k.DB.Write(ctx, func(tx *db.Tx) error { return journal.Journal{}.Record(ctx, tx, e) })
	}
	if err != nil {
		return fmt.Errorf("the command succeeded, but couldn't be recorded in the audit log: %w", err)
	}
	return nil
}

// event returns an event with the current time of the database's clock, since the command may run
// on another machine than the servers.
func (k *Keys) event(ctx context.Context, kind audit.Kind, detail string, number int) (audit.Event, error) {
	now, err := k.DB.Clock(ctx, k.now())
	return audit.Event{At: now, Actor: audit.ByOperator, Kind: kind, Detail: detail, Number: number}, err
}

// handOver makes the sealing key of ring the one that signs the audit log from now on.
func (k *Keys) handOver(ctx context.Context, ring *secret.Ring) (audit.Head, error) {
	e, err := k.event(ctx, audit.KeyRotated, sealing(ring), 0)
	if err != nil {
		return audit.Head{}, err
	}
	return audit.HandOver(ctx, k.DB, ring, func(tx *db.Tx) error { return journal.Journal{}.Record(ctx, tx, e) })
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

// Rewind removes from the ring the hand-overs (see [secret.RemoveHandovers]) that the audit log of a
// restored database lacks, and reports whether there were any. [Keys.Rotate] hands over again.
func (k *Keys) Rewind(ctx context.Context) (rewound bool, err error) {
	end, err := audit.End(ctx, k.DB.Reader())
	if err != nil {
		return false, err
	}
	before := k.Ring
	if k.Ring, err = secret.RemoveHandovers(ctx, k.From, end.Seq); err != nil {
		k.Ring = before
		return false, err
	}
	return k.Ring.Text() != before.Text(), nil
}

// Rotate makes the newest key the sealing key, seals every secret again under it, and returns the
// number of secrets that it sealed. Servers may run meanwhile; if one of them doesn't have the key,
// Rotate returns [ErrNotSpread] and has no effect. Secrets that can't be opened stay unchanged. A
// rotation that was killed continues when Rotate is called again. Rotate hands the audit log over
// to the new key first, so a database whose secrets are all under that key has its audit log under
// it too. If the hand-over fails, Rotate seals the secrets all the same and returns the error.
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
	// A server that hasn't read the new ring yet could seal a secret under the old key after this
	// loop has passed the secret's row. Wait even if this call didn't change the ring: a rotation
	// that was killed may have written the file a moment ago.
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

// resealAll seals all the given secrets again in one transaction and returns how many changed.
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
		return false, err // after Ctrl-C the transaction is rolled back
	}
	if secret.KeyOf(one.Bytes) == k.Sealing() || one.Place == (secret.Place{}) {
		return false, nil
	}
	plain, err := k.Ring.Open(one.Place, one.Bytes)
	if err != nil {
		return false, nil // Check reports it
	}
	return column.reseal(ctx, tx, one, k.Ring.Seal(one.Place, plain))
}

// ErrInUse means that the old keys can't be dropped, since a secret isn't sealed under the
// newest one.
var ErrInUse = errors.New("old keys are still needed, or a secret doesn't open; nothing was dropped. \"sallyport key check\" shows which: put back the missing key, or reset those accounts (account set-password, account reset-two-factor), then run this command again")

// ErrUnstored means that the operator hasn't stored the rotated ring yet, so that a server
// that starts now would seal under an old key.
var ErrUnstored = errors.New("nothing was dropped: store the ring first, restart every server, then run this command again")

// RemoveOldKeys removes the old keys from the ring and returns their number. It returns [ErrInUse]
// if a secret is still sealed under one of them or can't be opened, and [ErrUnstored] if the
// operator hasn't stored the rotated ring yet. Call RemoveOldKeys after [Keys.Rotate].
func (k *Keys) RemoveOldKeys(ctx context.Context) (dropped int, err error) {
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
	ring, err := secret.RemoveOldKeys(ctx, k.From, sealing)
	if err != nil {
		return 0, err
	}
	k.Ring = ring
	if dropped = before - len(ring.Keys()); dropped > 0 {
		err = k.Note(ctx, audit.KeysDropped, "", dropped)
	}
	return dropped, err
}
