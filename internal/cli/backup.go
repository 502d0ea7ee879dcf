package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/maintenance"
)

type backupCommand struct {
	File      string             `arg:"" help:"The new file."`
	Recipient []config.Recipient `help:"Encrypt the backup for this age key, age1…, instead of those in backup.recipients. May be repeated." placeholder:"AGE_KEY"`
}

func (c backupCommand) Run(r *run) error {
	recipients, err := config.AgeRecipients(c.Recipient)
	if err != nil {
		return fmt.Errorf("--recipient: %w", err)
	}
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	if len(recipients) == 0 {
		if recipients, err = config.AgeRecipients(cfg.Backup.Recipients); err != nil {
			return fmt.Errorf("backup.recipients: %w", err)
		}
	}
	if cfg.Database.Reveal() != "" {
		return fmt.Errorf("the database is PostgreSQL: back it up with pg_dump, and keep a copy of %v apart from it; after pg_restore run: sallyport restore --after-pg-restore", ringSource(cfg))
	}
	return withKeys(r, func(keys *maintenance.Keys) error {
		n, err := maintenance.Backup(r, keys.DB, keys.Ring, c.File, time.Now(), recipients...)
		switch {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%s exists already, and a backup never overwrites a file; name another one", c.File)
		case errors.Is(err, maintenance.ErrClosed):
			return fmt.Errorf("%w; no backup was made; \"sallyport key check\" shows which secrets don't open", err)
		}
		if err == nil {
			err = keys.Note(r, audit.BackedUp, c.File, n)
		}
		return printOnSuccess(r, err, "%s contains the database. %s\n"+
			"The key ring is NOT in it: keep a copy of %v elsewhere. Without it nobody can sign in after a restore.\n", c.File, sealedSecretsLine(n), ringSource(cfg))
	})
}

// sealedSecretsLine returns a sentence on the n sealed secrets that were opened.
func sealedSecretsLine(n int) string {
	switch n {
	case 0:
		return "It contains no sealed secrets yet."
	case 1:
		return "The one sealed secret in it opens with the key ring."
	default:
		return fmt.Sprintf("All %d sealed secrets in it open with the key ring.", n)
	}
}

type restoreCommand struct {
	File            string `arg:"" optional:"" help:"The backup file."`
	Identity        string `help:"File with the age identity that decrypts the backup." placeholder:"FILE"`
	KeepBackupCodes bool   `help:"Keep backup codes, even those that were used since the backup."`
	AfterPgRestore  bool   `help:"For PostgreSQL, after pg_restore: restore no file, but end sessions, passes, links and codes in the restored database."`
}

func (c restoreCommand) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	postgres := cfg.Database.Reveal() != ""
	switch {
	case c.AfterPgRestore && !postgres:
		return errors.New("--after-pg-restore is for PostgreSQL, and the database is SQLite; name the backup's file instead")
	case c.AfterPgRestore:
		return c.afterPgRestore(r)
	case postgres:
		return errors.New("the database is PostgreSQL: restore it with pg_restore while no server runs, then run: sallyport restore --after-pg-restore")
	case c.File == "":
		return errors.New("name the backup's file: sallyport restore FILE")
	}
	from := ringSource(cfg)
	ring, err := from.Read(r)
	if err != nil {
		return err
	}
	var identities []age.Identity
	if c.Identity != "" {
		f, err := os.Open(c.Identity)
		if err != nil {
			return err
		}
		defer f.Close()
		if identities, err = age.ParseIdentities(f); err != nil {
			return fmt.Errorf("%s isn't a file of age identities, such as \"age-keygen\" writes: %w", c.Identity, err)
		}
	}
	target := strings.TrimPrefix(cfg.DatabaseURL(), "sqlite:")
	err = maintenance.Restore(r, ring, maintenance.Restoration{File: c.File, Target: target, KeepBackupCodes: c.KeepBackupCodes, Identities: identities}, time.Now())
	switch {
	case errors.Is(err, maintenance.ErrEncrypted):
		return fmt.Errorf("%w: add --identity FILE, the file that \"age-keygen\" wrote", err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("there is a database in %s already; stop the server and move sallyport.db, sallyport.db-wal and sallyport.db-shm away, or set another data_dir", filepath.Dir(target))
	case errors.Is(err, maintenance.ErrClosed):
		return fmt.Errorf("%w; nothing was restored: %v is not this backup's; put a copy of the backup's key ring there", err, from)
	case err != nil:
		return fmt.Errorf("restore %s: %w", c.File, err)
	}
	return withKeys(r, func(keys *maintenance.Keys) error { return c.printRestored(r, keys) })
}

// printRestored rewinds the key ring, which may record a later end of the audit log than
// the restored database has, and prints what the restore ended.
func (c restoreCommand) printRestored(r *run, keys *maintenance.Keys) error {
	rewound, err := keys.Rewind(r)
	if err != nil {
		return fmt.Errorf("the database was restored, but its audit log couldn't be compared with the key ring: %w", err)
	}
	codes := "No backup code works any more: owners generate new ones under Settings → Security."
	if c.KeepBackupCodes {
		codes = "Backup codes were kept, even those that were used since the backup."
	}
	messages := r.streams.Out
	const then = "The backup's audit log ends before the keys were rotated. To continue it under the newest key, run: sallyport key rotate"
	switch ring := keys.Unstored(); {
	case rewound && ring != nil:
		messages = r.streams.Err // standard output holds the ring only
		if err := printRing(r, ring, keys.From, then); err != nil {
			return err
		}
	case rewound:
		fmt.Fprintln(messages, then)
	}
	_, err = fmt.Fprintf(messages, "The database was restored. Sessions, known browsers and links have ended, and people who were signing in must start again.\n"+
		"%s\nFor 24 hours, people with two-factor authentication need two codes in a row in a browser that isn't known.\n"+
		"Passwords and authenticators are those of the backup: later changes are undone.\n", codes)
	return err
}

func (c restoreCommand) afterPgRestore(r *run) error {
	return withKeys(r, func(keys *maintenance.Keys) error {
		found, err := keys.Check(r)
		if err != nil {
			return err
		}
		if err := errorIfClosed(found); err != nil {
			return err
		}
		// Use the database's clock. This machine's may be ahead, and time steps that count
		// as used up to a time in the future would lock owners out.
		now, err := keys.DB.Clock(r, time.Now())
		if err != nil {
			return fmt.Errorf("read the time from the database: %w", err)
		}
		if err := maintenance.PurgeForgotten(r, keys.DB, "pg_restore", now, c.KeepBackupCodes); err != nil {
			return err
		}
		return c.printRestored(r, keys)
	})
}
