package maintenance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/journal"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

// ErrClosed means that a sealed secret can't be opened with the key ring.
var ErrClosed = errors.New("some sealed secrets don't open with the key ring")

// Backup writes a consistent copy of the SQLite database to a new file of mode 0600, encrypted
// for the recipients if there are any. The copy doesn't contain the key ring. Backup opens every
// sealed secret of the copy with the ring and returns their number. It returns [ErrClosed] if one
// can't be opened, [fs.ErrExist] if the file exists, and [db.ErrNotSQLite] on PostgreSQL. After an
// error there is no new file, unless only the last step failed: syncing the directory. The parameter
// now is the time of the machine's clock.
func Backup(ctx context.Context, d *db.DB, ring *secret.Ring, file string, now time.Time, recipients ...age.Recipient) (secrets int, err error) {
	source, err := d.Path()
	if err != nil {
		return 0, err
	}
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s: %w", file, fs.ErrExist) // before the slow part
	}
	durable.RemoveLeftovers(filepath.Dir(file), now)
	durable.RemoveLeftovers(filepath.Dir(source), now)
	// Write the copy in plain text beside the database: the users who can read it there can read
	// the database too.
	plain, err := temporary(filepath.Dir(source))
	if err != nil {
		return 0, err
	}
	defer plain.Discard()
	if err := d.CopyTo(ctx, plain.Name()); err != nil {
		return 0, err
	}
	if secrets, err = openAll(ctx, ring, plain.Name()); err != nil {
		return 0, err
	}
	return secrets, publish(plain, file, func(to io.Writer, from io.Reader) error {
		if len(recipients) == 0 {
			_, err := io.Copy(to, from)
			return err
		}
		sealed, err := age.Encrypt(to, recipients...)
		if err != nil {
			return err
		}
		if _, err := io.Copy(sealed, from); err != nil {
			return err
		}
		return sealed.Close()
	})
}

// openAll opens every sealed secret of a copy and returns their number.
func openAll(ctx context.Context, ring *secret.Ring, file string) (int, error) {
	d, err := db.OpenCopy(ctx, file)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	found, err := (&Keys{DB: d, Ring: ring}).Check(ctx)
	if err != nil {
		return 0, err
	}
	if len(found.Closed) > 0 {
		return 0, fmt.Errorf("%w (%d)", ErrClosed, len(found.Closed))
	}
	n := 0
	for _, of := range found.ByKey {
		n += of
	}
	return n, nil
}

// temporary creates a file with a temporary name in dir.
func temporary(dir string) (*durable.File, error) {
	f, err := durable.Create(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; %s must be a directory that you may write to", err, dir)
	}
	return f, nil
}

// publish calls convert to write a new file from the content of from. The new file gets its name
// only when it is complete.
func publish(from io.ReadSeeker, file string, convert func(io.Writer, io.Reader) error) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	to, err := temporary(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer to.Discard()
	if err := errors.Join(convert(to, from), to.Sync()); err != nil {
		return fmt.Errorf("write %s: %w; the unfinished file was removed: make room, or name another place", file, err)
	}
	return to.Publish(file)
}

// ageHeader begins every file that age encrypted in binary form.
const ageHeader = "age-encryption.org/"

// ErrEncrypted means that the backup is encrypted and no identity was given.
var ErrEncrypted = errors.New("the backup is encrypted with age")

// Restoration says what [Restore] restores.
type Restoration struct {
	File            string         // the backup that [Backup] wrote
	Target          string         // the SQLite database to create
	KeepBackupCodes bool           // see [PurgeForgotten]
	Identities      []age.Identity // decrypt an encrypted backup
}

// Restore creates the database at r.Target from the backup and calls [PurgeForgotten] on it. It
// returns [fs.ErrExist] if the target exists, [ErrEncrypted] if an identity is missing, and
// [ErrClosed] if a sealed secret can't be opened with the ring. After an error there is no
// database, with the same exception as in [Backup].
func Restore(ctx context.Context, ring *secret.Ring, r Restoration, now time.Time) error {
	target := r.Target
	for _, end := range []string{"", "-wal", "-shm"} {
		if _, err := os.Lstat(target + end); err == nil {
			return fmt.Errorf("%s: %w", target+end, fs.ErrExist)
		}
	}
	from, err := os.Open(r.File)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := durable.MakeDir(filepath.Dir(target)); err != nil {
		return err
	}
	durable.RemoveLeftovers(filepath.Dir(target), now)
	work, err := temporary(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer work.Discard()
	in := bufio.NewReader(from)
	var plain io.Reader = in
	if head, _ := in.Peek(len(ageHeader)); string(head) == ageHeader {
		if len(r.Identities) == 0 {
			return ErrEncrypted
		}
		if plain, err = age.Decrypt(in, r.Identities...); err != nil {
			return err
		}
	}
	if _, err := io.Copy(work, plain); err != nil {
		return fmt.Errorf("copy it to %s: %w", filepath.Dir(target), err)
	}
	if _, err := openAll(ctx, ring, work.Name()); err != nil {
		return err
	}
	d, err := db.OpenRestored(ctx, work.Name())
	if err != nil {
		return err
	}
	if err := PurgeForgotten(ctx, d, r.File, now, r.KeepBackupCodes); err != nil {
		d.Close()
		return err
	}
	if err := d.CloseToMove(ctx); err != nil {
		return err
	}
	if err := durable.GiveToOwner(filepath.Dir(target), work.Chown); err != nil {
		return err
	}
	return work.Publish(target)
}

// PurgeForgotten removes, in one transaction, everything that may have been used or revoked since
// the backup was made, because the restored database doesn't know of it (F13): sessions, machine
// passes, known browsers, attempts, pending enrolments, links, unsent mails, codes of authenticator
// apps that may have been used, and, unless keepBackupCodes is true, backup codes. Afterwards every
// browser is unknown, and for 24 hours unknown browsers need two codes in a row. The parameter from
// is the backup's name in the audit log.
func PurgeForgotten(ctx context.Context, d *db.DB, from string, now time.Time, keepBackupCodes bool) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		for _, end := range []func(context.Context, *db.Tx) error{
			login.PurgeAttempts, session.Purge, device.Purge, authenticator.PurgePending, ticket.Purge, pass.Purge, outbox.Purge,
		} {
			if err := end(ctx, tx); err != nil {
				return err
			}
		}
		if !keepBackupCodes {
			if err := backupcode.Purge(ctx, tx); err != nil {
				return err
			}
		}
		state, err := clock.Read(ctx, tx)
		if err != nil {
			return err
		}
		if err := totp.EndSteps(ctx, tx, state.Capped(now), now); err != nil {
			return err
		}
		if err := throttle.MarkRestored(ctx, tx, now); err != nil {
			return err
		}
		return journal.Journal{}.Record(ctx, tx, audit.Event{At: now, Actor: audit.ByOperator, Kind: audit.Restored, Detail: from})
	})
}
