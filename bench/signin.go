package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// measureSignIn compares a whole sign-in, with password and code, with one password hash at the
// default costs. It also compares the verification of a code with the HMACs that it needs.
func measureSignIn(b *bench) {
	// A known browser, the usual case, has budgets of its own. An unknown one counts
	// against the budget of its network too.
	b.signIn("Sign-in with code, known browser", atMost(1.08), func(p *portal.Portal, phone *portal.Phone) func() {
		return b.steps(p, phone, true)
	})
	b.signIn("Sign-in with code, unknown browser", atMost(1.08), func(p *portal.Portal, phone *portal.Phone) func() {
		return b.steps(p, phone, false)
	})
	b.signIn("Sign-in with code over HTTP, the browser's part too", nil, b.browse)
	b.verify()
}

// inProcess returns a side that works in this process, measured by the processor time
// of all threads. A round should make enough garbage for a collection, so that each side
// pays for its own garbage, as in a server.
func inProcess(calls int, work func()) side {
	return func() sample {
		before, start := processorTime(), time.Now()
		for range calls {
			work()
		}
		return sample{n: calls, cpu: microseconds(processorTime()-before) / float64(calls), rate: float64(calls) / time.Since(start).Seconds()}
	}
}

// processorTime returns the processor time that this process has used.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err) // getrusage fails only for a bad argument
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// signIn measures one way to sign in to a portal on SQLite. way returns a function that
// signs in once.
func (b *bench) signIn(what string, target *target, way func(*portal.Portal, *portal.Phone) func()) {
	b.onAllCores(func() {
		p := portal.Start(b.stage, "sqlite")
		cost := p.Config.Password
		p.Login.Passwords = secret.Argon2id{MemoryKiB: uint32(cost.MemoryKiB), Iterations: uint32(cost.Iterations)}
		phone := addPerson(b.stage, p, "alice")
		salt := make([]byte, 16)
		signIns := inProcess(b.hashes, way(p, phone))
		got := alternate(b.rounds, func() sample {
			// Expire the sessions of the last round, as a server does.
			p.Clock.Move(betweenRounds)
			b.must(p.Sweep(b.ctx))
			return signIns()
		}, inProcess(b.hashes, func() {
			argon2.IDKey([]byte(portal.Password), salt, uint32(cost.Iterations), uint32(cost.MemoryKiB), 1, secret.Argon2HashBytes)
		}))
		b.add(row{what: what, unit: "ms CPU", got: medianOf(got[0], cpuOf) / 1000, bare: medianOf(got[1], cpuOf) / 1000,
			ratio: medianRatio(got[0], got[1], cpuOf), target: target})
	})
}

// addPerson adds an account with the password costs of p and returns its phone.
func addPerson(s *stage, p *portal.Portal, name string) *portal.Phone {
	p.AddAccount(s, name)
	browser := p.Browser(s)
	browser.SignIn(name)
	return browser.Enroll("Phone")
}

// steps returns a function that signs in by calling the functions that the handlers call.
func (b *bench) steps(p *portal.Portal, phone *portal.Phone, known bool) func() {
	from := login.Browser{Address: netip.MustParseAddr("127.0.0.1"), UserAgent: "bench"}
	return func() {
		p.Clock.Move(totp.Period) // each step gives one code
		begun, err := p.Login.SubmitPassword(b.ctx, login.Credentials{Username: "alice", Password: portal.Password, ReturnURL: "/"}, from)
		b.must(err)
		done, err := p.Login.SubmitCode(b.ctx, begun.Attempt.Reveal(), phone.Code(0), "", from)
		b.must(err)
		if done.Stage != login.StageDone {
			b.Fatal("a right code was not enough: ", done.Stage)
		}
		if known {
			from.Device = done.Device.Reveal()
		}
	}
}

// browse returns a function that signs in over HTTP on loopback.
func (b *bench) browse(p *portal.Portal, phone *portal.Phone) func() {
	return func() {
		p.Clock.Move(totp.Period)
		browser := p.Browser(b.stage)
		browser.SignIn("alice")
		if a := browser.Post("/login/code", "code", phone.Code(0)); a.Status != http.StatusSeeOther || a.Location != "/" {
			b.Fatalf("code: %d %s", a.Status, a.Location)
		}
	}
}

// comparisons is the number of comparisons in each round. A single comparison is too short to
// measure and leaves too little garbage for a collection.
const comparisons = 10_000

// verify measures the pure part of a code's verification, which computes the codes of three
// steps, whichever matches. A naive verifier keys an HMAC for each step. A careful verifier keys
// one HMAC, and for each step copies two states instead of hashing two padded keys.
func (b *bench) verify() {
	key := make([]byte, totp.SecretBytes)
	rand.Read(key)
	now := testkit.Start
	code := totp.CodeAt(key, now.Add(-totp.Period)) // the oldest step that is accepted
	var counter, sum [sha1.Size]byte
	hash := func(keyed func() func([]byte)) func() {
		return func() {
			write := keyed()
			for step := totp.Step(now, totp.Period) - 1; step <= totp.Step(now, totp.Period)+1; step++ {
				write(binary.BigEndian.AppendUint64(counter[:0], uint64(step)))
			}
		}
	}
	got := alternate(b.rounds,
		inProcess(comparisons, func() {
			state := totp.State{Secret: key, Parameters: totp.Standard()}
			if state.Verify(code, now).Result != totp.Accepted {
				b.Fatal("a right code was not accepted")
			}
		}),
		inProcess(comparisons, hash(func() func([]byte) {
			return func(step []byte) {
				mac := hmac.New(sha1.New, key)
				mac.Write(step)
				mac.Sum(sum[:0])
			}
		})),
		inProcess(comparisons, hash(func() func([]byte) {
			mac := hmac.New(sha1.New, key)
			return func(step []byte) {
				mac.Reset()
				mac.Write(step)
				mac.Sum(sum[:0])
			}
		})))
	for i, against := range []string{"three HMACs, each keyed anew", "three of one keyed HMAC"} {
		bare := got[i+1]
		b.add(row{what: "Comparing a code, against " + against, unit: "µs CPU",
			got: medianOf(got[0], cpuOf), bare: medianOf(bare, cpuOf), ratio: medianRatio(got[0], bare, cpuOf)})
	}
}
