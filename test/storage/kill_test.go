package storage

// Storage when the program is killed.

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// killRounds is the number of kills, unless the variable faultsVariable has another
	// number.
	killRounds     = 25
	faultsVariable = "SALLYPORT_FAULTS"

	// killLanes is the number of programs that run at the same time, since a rotation of
	// keys waits most of the time.
	killLanes = 4

	// killWithin is how long a program runs at most. A rotation that starts with the
	// program is done within that time.
	killWithin = 1800 * time.Millisecond

	// ownersPerClient is about the number of owners that a client gets through in a round.
	ownersPerClient = 4

	// dropEvery is the number of rounds after which old keys are dropped. Each round adds a
	// key, and a ring holds 32.
	dropEvery = 20
)

// TestAttack136Kills kills the program at random times while its keys rotate and users sign in,
// enroll, mistype codes, use backup codes and create new ones.
func TestAttack136Kills(t *testing.T) {
	t.Parallel()
	rounds, seed := sallyport.Series(t, faultsVariable, killRounds)
	path := sallyport.BuildProgram(t)
	var running sync.WaitGroup
	defer running.Wait()
	run := func(i int) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := &sallyport.Workload{Program: &sallyport.Program{T: t, Path: path, Dir: t.TempDir()}, Rng: rand.New(rand.NewPCG(seed, uint64(i)))}
			mine := (rounds + killLanes - 1 - i) / killLanes
			t.Run("owners", func(t *testing.T) { l.AddOwners(t, mine*sallyport.ClientsPerWorkload*ownersPerClient) })
			killed, touched := 0, 0
			for round := range mine {
				server := l.Serve()
				if round%dropEvery == dropEvery-1 {
					l.Command("key", "rotate", "--drop")
				}
				rotated := l.Background("key", "rotate")
				l.CheckDatabase(l.Owners[touched:l.Next.Load()])
				touched = int(l.Next.Load())

				var clients sync.WaitGroup
				for range sallyport.ClientsPerWorkload {
					clients.Go(func() {
						if err := l.RunClient(); err != nil && !sallyport.ProgramDied(err) {
							t.Error(err)
						}
					})
				}
				l.Command("key", "add") // for the next round's rotation
				select {
				case <-time.After(time.Duration(l.Below(int64(killWithin)))):
				case <-server.Ended:
					t.Fatalf("the server ended before it was killed:\n%s", server.Output())
				}
				// In half of the rounds the rotation is killed too.
				if l.Below(2) == 0 {
					rotated.Kill()
					killed++
				}
				server.Kill()
				clients.Wait()
				if err := rotated.Wait(); err != nil && !rotated.Killed {
					t.Errorf("key rotate, which wasn't killed: %v\n%s", err, rotated.Output())
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			l.Serve()
			// With --drop, the command succeeds only if no secret is left under an old key.
			l.Command("key", "rotate", "--drop")
			l.CheckDatabase(l.Owners[touched:l.Next.Load()])
			t.Logf("%d owners, %d things done after enrolment, %d rotations killed", l.Next.Load(), l.Answers.Load(), killed)
			if l.Answers.Load() == 0 {
				t.Error("no owner did anything after the enrolment")
			}
		})
	}
	for i := range killLanes {
		running.Go(func() { run(i) })
	}
}
