package totp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// ErrReused means that a concurrent request used the step, or a later one, first.
var ErrReused = errors.New("time step was used already")

// place binds the sealed secret to its row and owner: neither the secret nor the whole row
// opens under another account (attack 142).
func place(a authenticator.Authenticator) secret.Place {
	return secret.Place{Table: "totp", Column: "secret", Row: a.AccountID + "/" + a.ID}
}

// Create stores a new random secret with the standard parameters for a pending authenticator.
func Create(ctx context.Context, tx *db.Tx, ring *secret.Ring, a authenticator.Authenticator) error {
	key := make([]byte, SecretBytes)
	rand.Read(key)
	p := Standard()
	_, err := db.Exec(ctx, tx, `
		INSERT INTO totp (authenticator_id, secret, algorithm, digits, period, last_step, drift_steps)
		VALUES ($1, $2, $3, $4, $5, 0, 0)`,
		a.ID, ring.Seal(place(a), key), string(p.Algorithm), p.Digits, int64(p.Period/time.Second))
	if err != nil {
		return fmt.Errorf("store secret: %w", err)
	}
	return nil
}

// Load returns the state of an authenticator. It returns [db.ErrNotFound] if the authenticator
// was removed, and another error if the secret doesn't open or a parameter isn't supported.
// Callers must deny after any error (F3, F4).
func Load(ctx context.Context, q db.Querier, ring *secret.Ring, a authenticator.Authenticator) (State, error) {
	var (
		s               State
		sealed          []byte
		algorithm       string
		digits, seconds int64
	)
	err := db.One(ctx, q, `SELECT secret, algorithm, digits, period, last_step, step_ahead, drift_steps FROM totp WHERE authenticator_id = $1`,
		[]any{a.ID}, &sealed, &algorithm, &digits, &seconds, &s.LastStep, &s.StepAhead, &s.Drift)
	if err != nil {
		return State{}, fmt.Errorf("read secret of authenticator %s: %w", a.ID, err)
	}
	if s.Parameters, err = parametersOf(algorithm, digits, seconds); err != nil {
		return State{}, fmt.Errorf("authenticator %s: %w", a.ID, err)
	}
	if s.Secret, err = ring.Open(place(a), sealed); err != nil {
		return State{}, fmt.Errorf("secret of authenticator %s: %w", a.ID, err)
	}
	return s, nil
}

// ReadParameters returns the parameters of the authenticator with the given id, without its secret,
// for pages that say what its codes look like. If a parameter isn't supported, it returns the zero
// Parameters. It returns [db.ErrNotFound] if the authenticator was removed.
func ReadParameters(ctx context.Context, q db.Querier, id string) (Parameters, error) {
	var (
		algorithm       string
		digits, seconds int64
	)
	err := db.One(ctx, q, `SELECT algorithm, digits, period FROM totp WHERE authenticator_id = $1`, []any{id}, &algorithm, &digits, &seconds)
	if err != nil {
		return Parameters{}, fmt.Errorf("read parameters of authenticator %s: %w", id, err)
	}
	p, _ := parametersOf(algorithm, digits, seconds) // zero with an error
	return p, nil
}

// Claim marks the step or pair of steps of an accepted check as used and stores its drift. Of
// several concurrent callers, on any number of nodes, one succeeds; the others get
// [ErrReused] (R7; RFC 6238, section 5.2).
//
// unsure means that the clock may be ahead. Then the step is stored apart, as
// [State.StepAhead], so that it doesn't block the codes of the time before it. If StepAhead
// is later already, it stays, and the claimed step becomes [State.LastStep], which
// [BringBack] can lower.
//
// A row holds two steps. So of several steps that are used while the clock is unsure, only the
// latest and those within 22 steps before it (11 minutes with a period of 30 s) stay used if the
// clock goes back. The code of an earlier one would be accepted once more when its time comes.
//
// Claim also stores now as the time of the last use. The zero time leaves the earlier one, for
// the code that confirms an enrolment.
func Claim(ctx context.Context, tx *db.Tx, id string, c Check, unsure bool, now time.Time) error {
	if c.Result != Accepted {
		return errors.New("claim of a code that was not accepted")
	}
	set := `last_step = $2`
	if unsure {
		set = `
			step_ahead = CASE WHEN step_ahead > $2 THEN step_ahead ELSE $2 END,
			last_step = CASE WHEN step_ahead > $2 THEN $2 ELSE last_step END`
	}
	n, err := db.Exec(ctx, tx, `
		UPDATE totp SET `+set+`, drift_steps = $3, used_at = COALESCE($6, used_at)
		WHERE  authenticator_id = $1 AND last_step < $4 AND (step_ahead < $4 OR step_ahead > $5)`,
		id, c.Step, c.Drift, c.from, c.Step+reach, db.At{Time: now})
	if err != nil {
		return fmt.Errorf("claim time step: %w", err)
	}
	if n == 0 {
		return ErrReused
	}
	return nil
}

// UsedAt returns when a code of the authenticator was last used to sign in, or the zero time if
// no code was used or the authenticator was removed.
func UsedAt(ctx context.Context, q db.Querier, a authenticator.Authenticator) (time.Time, error) {
	var used db.At
	err := db.One(ctx, q, `SELECT used_at FROM totp WHERE authenticator_id = $1`, []any{a.ID}, &used)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return time.Time{}, fmt.Errorf("read last use of authenticator %s: %w", a.ID, err)
	}
	// Earlier versions store the last use with the authenticator.
	if a.LastUsedAt.After(used.Time) {
		return a.LastUsedAt, nil
	}
	return used.Time, nil
}

// Sealed returns the sealed secrets of all authenticators, including pending ones, in the order
// of ids and starting after the given id. It returns at most [secret.SealedBatch] of them, and
// none once the given id is the last one.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	all, err := db.All(ctx, q, `SELECT authenticator_id, secret FROM totp WHERE authenticator_id > $1 ORDER BY authenticator_id LIMIT $2`,
		[]any{after, secret.SealedBatch}, func(scan db.Scan) (s secret.Sealed, err error) {
			return s, scan(&s.ID, &s.Bytes)
		})
	if err != nil {
		return nil, err
	}
	for i := range all {
		owner, err := authenticator.OwnerOf(ctx, q, all[i].ID)
		if err != nil {
			return nil, err
		}
		if owner != "" { // otherwise it was removed in between
			all[i].Place = place(authenticator.Authenticator{ID: all[i].ID, AccountID: owner})
		}
	}
	return all, nil
}

// Reseal replaces the sealed bytes of a secret by the bytes in resealed, the same secret sealed
// under another key. If the row has changed since old was read, Reseal leaves the row as it is
// and reports false.
func Reseal(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error) {
	n, err := db.Exec(ctx, tx, `UPDATE totp SET secret = $3 WHERE authenticator_id = $1 AND secret = $2`, old.ID, old.Bytes, resealed)
	return n == 1, err
}

// EndSteps marks as used all steps up to the last one that is accepted at the time earliest. It is
// for a database that was restored from a backup: codes may have been used since the backup was
// made (F13, R7). If now is later than earliest, the clock that shows now may be ahead. The steps
// up to now are then marked as an unsure [Claim] marks its step, and don't block the codes of the
// time before now.
func EndSteps(ctx context.Context, tx *db.Tx, earliest, now time.Time) error {
	// A row with any other period isn't supported, so no code of it is right.
	for _, period := range periods {
		seconds := int64(period / time.Second)
		_, err := db.Exec(ctx, tx, `
			UPDATE totp SET last_step = $1 + drift_steps
			WHERE  period = $2 AND last_step < $1 + drift_steps`, Step(earliest, period)+window, seconds)
		if err == nil && now.After(earliest) {
			_, err = db.Exec(ctx, tx, `
				UPDATE totp SET step_ahead = $1 + drift_steps
				WHERE  period = $2 AND step_ahead < $1 + drift_steps`, Step(now, period)+window, seconds)
		}
		if err != nil {
			return fmt.Errorf("end steps: %w", err)
		}
	}
	return nil
}

// BringBack lowers the newest used step of each authenticator to the last one that is accepted at
// now, after the clock was found to have been ahead, and returns the number of authenticators
// that it changed. The steps that were used stay used until their time has passed.
func BringBack(ctx context.Context, tx *db.Tx, now time.Time) (int, error) {
	lowered := 0
	for _, period := range periods {
		n, err := db.Exec(ctx, tx, `
			UPDATE totp SET
				step_ahead = CASE WHEN step_ahead > last_step THEN step_ahead ELSE last_step END,
				last_step = drift_steps + $1
			WHERE  period = $2 AND last_step > drift_steps + $1`, Step(now, period)+window, int64(period/time.Second))
		if err != nil {
			return 0, fmt.Errorf("bring used steps back: %w", err)
		}
		lowered += int(n)
	}
	return lowered, nil
}
