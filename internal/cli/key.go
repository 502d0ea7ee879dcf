package cli

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
)

type keyCommands struct {
	New    keyNew    `cmd:"" help:"Print a fresh key ring, for a new portal whose key ring sallyport only reads."`
	List   keyList   `cmd:"" help:"List the keys of the key ring."`
	Check  keyCheck  `cmd:"" help:"Open every sealed secret and name those that don't open."`
	Add    keyAdd    `cmd:"" help:"Add a spare key, which seals nothing until \"key rotate\"."`
	Rotate keyRotate `cmd:"" help:"Let the newest key seal, and seal every secret anew under it, beside a running server."`
}

type keyNew struct{}

// Run prints a ring; it touches neither configuration nor database.
func (keyNew) Run(r *run) error {
	_, err := io.WriteString(r.streams.Out, secret.NewRing().Text().Reveal())
	return err
}

type keyList struct{}

func (keyList) Run(r *run) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	ring, err := server.RingSource(cfg).Read(r)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(r.streams.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tSTATE")
	for _, key := range ring.Keys() {
		fmt.Fprintf(table, "%s\t%s\n", key.ID, key.State)
	}
	return table.Flush()
}

type keyAdd struct{}

func (keyAdd) Run(r *run) error {
	return withKeys(r, func(keys *server.Keys) error {
		added, err := keys.Add(r)
		if added == "" {
			return err
		}
		if ring := keys.Unstored(); ring != nil {
			return errors.Join(store(r, ring, keys.From, fmt.Sprintf("It has the new key %s, which seals nothing yet. Then run: sallyport key rotate", added)), err)
		}
		fmt.Fprintf(r.streams.Out, "Key %s was added; it seals nothing yet.\n"+
			"Copy %s to where you keep its copy, and to every other node. Then run: sallyport key rotate\n", added, keys.From.Path)
		return err
	})
}

// store prints a ring that isn't ours to write: the ring alone to standard
// output, so that it can be piped to where it belongs, and what to do with it
// beside.
func store(r *run, ring *secret.Ring, from secret.Source, then string) error {
	if _, err := io.WriteString(r.streams.Out, ring.Text().Reveal()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.streams.Err, "This ring takes the place of %v: store it there and where you keep its copy, on every node, and restart every server.\n%s\n", from, then)
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
		// Standard output is the ring's alone, where it isn't ours.
		say := r.streams.Out
		if !keys.From.Ours() {
			say = r.streams.Err
		}
		before := keys.Ring.Text()
		n, err := keys.Rotate(r)
		if errors.Is(err, server.ErrNotSpread) {
			return err
		}
		if err != nil {
			return fmt.Errorf("%w\n%d secrets were sealed anew; run the command again for the rest, nothing is lost", err, n)
		}
		fmt.Fprintf(say, "Key %s seals; %d secrets were sealed anew under it.\n", keys.Sealing(), n)
		then := "To remove its old keys, run afterwards: sallyport key rotate --drop"
		var dropped int
		switch {
		case c.Drop:
			if dropped, err = keys.Drop(r); errors.Is(err, server.ErrUnstored) {
				break // what it says is what to do
			}
			if err != nil {
				return err
			}
			then = "Backups made before today open only with a copy of the key ring of before."
			fmt.Fprintf(say, "%d old keys were dropped. %s\n", dropped, then)
		case n == 0:
			fmt.Fprintln(say, "For a new key, run first: sallyport key add")
		}
		if ring := keys.Unstored(); ring != nil {
			return errors.Join(store(r, ring, keys.From, then), err)
		}
		if keys.Ring.Text() != before {
			fmt.Fprintf(say, "Copy %s anew to where you keep its copy, and to every other node: it says where the audit log goes on under this key.\n", keys.From.Path)
		}
		return err
	})
}
