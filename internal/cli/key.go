package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
)

type keyCommands struct {
	List   keyList   `cmd:"" help:"List the keys of the key ring."`
	Check  keyCheck  `cmd:"" help:"Open every sealed secret and name those that don't open."`
	Add    keyAdd    `cmd:"" help:"Add a spare key, which seals nothing until \"key rotate\"."`
	Rotate keyRotate `cmd:"" help:"Let the newest key seal, and seal every secret anew under it, beside a running server."`
}

type keyList struct{}

func (keyList) Run(r *run) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	ring, err := secret.ReadRing(cfg.KeyRingPath())
	if err != nil {
		return noRing(cfg.KeyRingPath(), err)
	}
	table := tabwriter.NewWriter(r.streams.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tSTATE")
	for _, key := range ring.Keys() {
		fmt.Fprintf(table, "%s\t%s\n", key.ID, key.State)
	}
	return table.Flush()
}

func noRing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no key ring at %s: put its copy there; \"sallyport serve\" makes one for a new portal only", path)
	}
	return err
}

type keyAdd struct{}

func (keyAdd) Run(r *run) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	ring, err := secret.AddKey(cfg.KeyRingPath())
	if err != nil {
		return noRing(cfg.KeyRingPath(), err)
	}
	keys := ring.Keys()
	_, err = fmt.Fprintf(r.streams.Out, "Key %s was added; it seals nothing yet.\n"+
		"Copy %s to where you keep its copy, and to every other node. Then run: sallyport key rotate\n", keys[len(keys)-1].ID, cfg.KeyRingPath())
	return err
}

// withKeys opens database and key ring.
func withKeys(r *run, use func(*server.Keys) error) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	keys, err := server.OpenKeys(r, cfg)
	if err != nil {
		return err
	}
	defer keys.Close()
	return use(keys)
}

type keyCheck struct{}

func (keyCheck) Run(r *run) error {
	return withKeys(r, func(keys *server.Keys) error {
		found, err := keys.Check(r)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(r.streams.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "KEY\tSTATE\tSECRETS")
		for _, key := range keys.Ring.Keys() {
			fmt.Fprintf(table, "%s\t%s\t%d\n", key.ID, key.State, found.ByKey[key.ID])
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, one := range found.Closed {
			fmt.Fprintf(r.streams.Out, "%s of row %s: %v (key %s)\n", one.Column, one.Row, one.Reason, one.Key)
		}
		return closed(found)
	})
}

// closed says what to do about secrets that don't open; nil where all do.
func closed(found server.SealedReport) error {
	unknown := 0
	for _, one := range found.Closed {
		if errors.Is(one.Reason, secret.ErrUnknownKey) {
			unknown++
		}
	}
	switch {
	case unknown > 0:
		return fmt.Errorf("%d sealed secrets need a key that isn't in the key ring: put back the ring's copy that has it; until then those accounts are refused", unknown)
	case len(found.Closed) > 0:
		return fmt.Errorf("%d sealed secrets were changed or moved in the database: restore a backup, or give those accounts new ones (account set-password, account reset-two-factor)", len(found.Closed))
	}
	return nil
}

type keyRotate struct {
	Drop bool `help:"Afterwards remove old keys, once nothing is sealed under them. Backups of before need a copy of the ring of before."`
}

func (c keyRotate) Run(r *run) error {
	return withKeys(r, func(keys *server.Keys) error {
		n, err := keys.Rotate(r)
		if err != nil {
			return fmt.Errorf("%w\n%d secrets were sealed anew; run the command again for the rest, nothing is lost", err, n)
		}
		fmt.Fprintf(r.streams.Out, "Key %s seals; %d secrets were sealed anew under it.\n", keys.Sealing(), n)
		if !c.Drop {
			if n == 0 {
				fmt.Fprintln(r.streams.Out, "For a new key, run first: sallyport key add")
			}
			return nil
		}
		dropped, err := keys.Drop(r)
		return report(r, err, "%d old keys were dropped. Backups made before today open only with a copy of the key ring of before.\n", dropped)
	})
}
