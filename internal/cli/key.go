package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/secret"
)

type keyCommands struct {
	New    keyNew    `cmd:"" help:"Print a new key ring, for a new portal with key_ring or key_ring_command." example:"sallyport key new > keyring"`
	List   keyList   `cmd:"" help:"List the keys of the key ring." example:"sallyport key list"`
	Check  keyCheck  `cmd:"" help:"Open every sealed secret and name those that don't open." example:"sallyport key check"`
	Add    keyAdd    `cmd:"" help:"Add a spare key, which seals nothing until \"key rotate\"." example:"sallyport key add"`
	Rotate keyRotate `cmd:"" help:"Make the newest key the sealing key, and seal every secret again under it. The server may run meanwhile." example:"sallyport key rotate --drop"`
}

type keyNew struct{}

// Run prints a new ring. It uses neither the configuration nor the database.
func (keyNew) Run(r *run) error {
	_, err := io.WriteString(r.streams.Out, secret.NewRing().Text().Reveal())
	return err
}

type keyList struct{ listFlags }

type keyRow struct {
	ID      string `json:"id"`
	State   string `json:"state"`             // seals, old, spare
	Secrets *int   `json:"secrets,omitempty"` // how many it opens; only "key check" counts them
}

func (k keyRow) cells() []string {
	if k.Secrets == nil {
		return []string{k.ID, k.State}
	}
	return []string{k.ID, k.State, fmt.Sprint(*k.Secrets)}
}

func (c keyList) Run(r *run) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	ring, err := ringSource(cfg).Read(r)
	if err != nil {
		return err
	}
	to := c.newWriter(r.streams.Out, "KEY", "STATE")
	for _, key := range ring.Keys() {
		if err := to.add(keyRow{ID: key.ID, State: string(key.State)}); err != nil {
			return err
		}
	}
	return to.end()
}

type keyAdd struct{}

func (keyAdd) Run(r *run) error {
	return withKeys(r, func(keys *maintenance.Keys) error {
		added, err := keys.Add(r)
		if added == "" {
			return err
		}
		if ring := keys.Unstored(); ring != nil {
			return errors.Join(printRing(r, ring, keys.From, fmt.Sprintf("The new key %s seals nothing yet. Then run: sallyport key rotate", added)), err)
		}
		fmt.Fprintf(r.streams.Out, "Key %s was added; it seals nothing yet.\n"+
			"Copy %s to every other node, and replace your safe copy with it. Then run: sallyport key rotate\n", added, keys.From.Path)
		return err
	})
}

// printRing prints a ring that Sallyport can't store itself: the ring alone to standard
// output, so that it can be piped to its place, and the instructions to standard error.
func printRing(r *run, ring *secret.Ring, from secret.Source, then string) error {
	if _, err := io.WriteString(r.streams.Out, ring.Text().Reveal()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.streams.Err, "This ring replaces %v: store it there on every node, replace your safe copy with it, and restart every server.\n%s\n", from, then)
	return err
}

// withKeys opens the database and the key ring, and calls use with them.
func withKeys(r *run, use func(*maintenance.Keys) error) error {
	cfg, err := r.existingConfig()
	if err != nil {
		return err
	}
	database := maintenance.Database{URL: cfg.DatabaseURL(), Pooled: cfg.Pooler, Direct: cfg.DatabaseDirect.Reveal()}
	ctx := db.OnWait(r, func(reason error) {
		fmt.Fprintln(r.streams.Err, "The upgrade of the database's schema waits for other transactions, such as a dump:", reason)
	})
	keys, err := maintenance.OpenKeys(ctx, database, ringSource(cfg), time.Now)
	if db.IsMisconfigured(err) {
		return config.Faults{{Key: "database", Text: err.Error()}}
	}
	if err != nil {
		return err
	}
	defer keys.Close()
	return use(keys)
}

// ringSource returns where the configuration says that the key ring is.
func ringSource(cfg config.Config) secret.Source {
	return secret.Source{Path: cfg.KeyRingPath(), Credential: cfg.KeyRing.Credential, Command: cfg.KeyRingCommand}
}

type keyCheck struct{ listFlags }

func (c keyCheck) Run(r *run) error {
	return withKeys(r, func(keys *maintenance.Keys) error {
		found, err := keys.Check(r)
		if err != nil {
			return err
		}
		to := c.newWriter(r.streams.Out, "KEY", "STATE", "SECRETS")
		for _, key := range keys.Ring.Keys() {
			secrets := found.ByKey[key.ID]
			if err := to.add(keyRow{ID: key.ID, State: string(key.State), Secrets: &secrets}); err != nil {
				return err
			}
		}
		if err := to.end(); err != nil {
			return err
		}
		details := r.streams.Out
		if c.JSON {
			details = r.streams.Err // standard output holds JSON only
		}
		for _, one := range found.Closed {
			fmt.Fprintf(details, "%s of row %s: %v (key %s)\n", one.Column, one.Row, one.Reason, one.Key)
		}
		return errorIfClosed(found)
	})
}

// errorIfClosed returns an error that says what to do if some secrets don't open.
func errorIfClosed(found maintenance.SealedReport) error {
	unknown := 0
	for _, one := range found.Closed {
		if errors.Is(one.Reason, secret.ErrUnknownKey) {
			unknown++
		}
	}
	switch {
	case unknown > 0:
		return fmt.Errorf("%s a key that isn't in the key ring: put back a copy of the key ring that has it; until then sign-ins to those accounts are refused", countOf(unknown, "sealed secret needs", "sealed secrets need"))
	case len(found.Closed) > 0:
		return fmt.Errorf("%s changed or moved in the database: restore a backup, or give those accounts new secrets (account set-password, account reset-two-factor)", countOf(len(found.Closed), "sealed secret was", "sealed secrets were"))
	}
	return nil
}

type keyRotate struct {
	Drop bool `help:"Afterwards remove old keys, once nothing is sealed under them. Earlier backups then need a copy of the earlier ring."`
}

func (c keyRotate) Run(r *run) error {
	return withKeys(r, func(keys *maintenance.Keys) error {
		// If Sallyport can't store the ring, standard output holds the ring only.
		messages := r.streams.Out
		if !keys.From.IsWritable() {
			messages = r.streams.Err
		}
		before := keys.Ring.Text()
		n, err := keys.Rotate(r)
		if errors.Is(err, maintenance.ErrNotSpread) {
			return err
		}
		if err != nil {
			return fmt.Errorf("%w\n%s, and nothing is lost; run the command again for the rest", err, countOf(n, "secret was sealed again", "secrets were sealed again"))
		}
		fmt.Fprintf(messages, "Key %s is now the sealing key; %s under it.\n", keys.Sealing(), countOf(n, "secret was sealed again", "secrets were sealed again"))
		then := "To remove the old keys, run afterwards: sallyport key rotate --drop"
		var dropped int
		switch {
		case c.Drop:
			if dropped, err = keys.RemoveOldKeys(r); errors.Is(err, maintenance.ErrUnstored) {
				break // the error says what to do
			}
			if err != nil {
				return err
			}
			then = "Earlier backups open only with a copy of the earlier key ring."
			fmt.Fprintf(messages, "%s dropped. %s\n", countOf(dropped, "old key was", "old keys were"), then)
		case n == 0:
			fmt.Fprintln(messages, "To rotate to a new key, run first: sallyport key add")
		}
		if ring := keys.Unstored(); ring != nil {
			return errors.Join(printRing(r, ring, keys.From, then), err)
		}
		if keys.Ring.Text() != before {
			fmt.Fprintf(messages, "Copy %s to every other node, and replace your safe copy with it: it records where the audit log continues under this key.\n", keys.From.Path)
		}
		return err
	})
}
