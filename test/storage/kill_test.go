package storage

// J. Storage, when the program is killed.

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// killRounds is how often a program is killed; faultsVariable asks for
	// another number.
	killRounds     = 25
	faultsVariable = "SALLYPORT_FAULTS"

	// killLanes are programs that run beside each other, since a rotation of
	// keys waits more than it works.
	killLanes = 4

	// killWithin is how long a program is used at most. A rotation that began
	// with it seals its secrets anew within that time.
	killWithin = 1800 * time.Millisecond

	// ownersPerClient in a round are about as many as it gets through.
	ownersPerClient = 4

	// dropEvery so many rounds, each of which adds a key, old keys are dropped: a
	// ring holds 32.
	dropEvery = 20
)

// TestAttack136Kills: the program is killed at any time while its keys rotate
// and people sign in, enrol, mistype, use backup codes and make new ones.
func TestAttack136Kills(t *testing.T) {
	t.Parallel()
	rounds, seed := sallyport.Series(t, faultsVariable, killRounds)
	path := sallyport.BuildProgram(t)
	var running sync.WaitGroup
	defer running.Wait()
	run := func(i int) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := &sallyport.Lane{Program: &sallyport.Program{T: t, Path: path, Dir: t.TempDir()}, Rng: rand.New(rand.NewPCG(seed, uint64(i)))}
			mine := (rounds + killLanes - 1 - i) / killLanes
			t.Run("owners", func(t *testing.T) { l.AddOwners(t, mine*sallyport.ClientsPerLane*ownersPerClient) })
			killed, touched := 0, 0
			for round := range mine {
				server := l.Serve()
				if round%dropEvery == dropEvery-1 {
					l.Command("key", "rotate", "--drop")
				}
				rotated := l.Background("key", "rotate")
				l.Examine(l.Owners[touched:l.Next.Load()])
				touched = int(l.Next.Load())

				var clients sync.WaitGroup
				for range sallyport.ClientsPerLane {
					clients.Go(func() {
						if err := l.Use(); err != nil && !sallyport.Died(err) {
							t.Error(err)
						}
					})
				}
				l.Command("key", "add") // for the next round's rotation
				select {
				case <-time.After(time.Duration(l.Below(int64(killWithin)))):
				case <-server.Ended:
					t.Fatalf("the server ended by itself:\n%s", server.Output())
				}
				// The rotation dies with it, or goes on alone.
				if l.Below(2) == 0 {
					rotated.Kill()
					killed++
				}
				server.Kill()
				clients.Wait()
				if err := rotated.Wait(); err != nil && !rotated.Killed {
					t.Errorf("key rotate: %v\n%s", err, rotated.Output())
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			l.Serve()
			// With --drop it ends well only if nothing is left under an old key.
			l.Command("key", "rotate", "--drop")
			l.Examine(l.Owners[touched:l.Next.Load()])
			t.Logf("%d owners, %d things done after enrolment, %d rotations killed", l.Next.Load(), l.Answers.Load(), killed)
			if l.Answers.Load() == 0 {
				t.Error("nobody got further than enrolment")
			}
		})
	}
	for i := range killLanes {
		running.Go(func() { run(i) })
	}
}
