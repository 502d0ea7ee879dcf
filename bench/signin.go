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

// measureSignIn holds a whole sign-in, password and code, against its one
// password hash at the costs that are the default; and the comparison of a code
// against the HMACs that it can't do without.
func measureSignIn(b *bench) {
	// A browser that is known, as on most days, has budgets of its own; one
	// that isn't counts for its network too.
	b.signIn("Sign-in with code, known browser", atMost(1.10), func(p *portal.Portal, phone *portal.Phone) func() {
		return b.steps(p, phone, true)
	})
	b.signIn("Sign-in with code, unknown browser", atMost(1.10), func(p *portal.Portal, phone *portal.Phone) func() {
		return b.steps(p, phone, false)
	})
	b.signIn("Sign-in with code over HTTP, the browser's part too", nil, b.browse)
	b.verify()
}

// inProcess is a side that works in this process, by the processor time of all
// its threads. A round should make enough garbage to be collected within it:
// then each side pays for its own, as it would in a server.
func inProcess(calls int, work func()) side {
	return func() sample {
		begin, at := processor(), time.Now()
		for range calls {
			work()
		}
		return sample{n: calls, cpu: microseconds(processor()-begin) / float64(calls), rate: float64(calls) / time.Since(at).Seconds()}
	}
}

func processor() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err) // it has no other error than a bad argument
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// signIn measures one way to sign in to a portal on SQLite.
func (b *bench) signIn(what string, target *target, way func(*portal.Portal, *portal.Phone) func()) {
	b.onAllCores(func() {
		p := portal.Start(b.stage, "sqlite")
		cost := p.Config.Password
		p.Login.Passwords = secret.Argon2id{MemoryKiB: uint32(cost.MemoryKiB), Iterations: uint32(cost.Iterations)}
		phone := addPerson(b.stage, p, "alice")
		salt := make([]byte, 16)
		signIns := inProcess(b.hashes, way(p, phone))
		got := alternate(b.rounds, func() sample {
			// Sessions of the last round ended, as they do in life.
			p.Clock.Move(apart)
			b.must(p.Sweep(b.ctx))
			return signIns()
		}, inProcess(b.hashes, func() {
			argon2.IDKey([]byte(portal.Password), salt, uint32(cost.Iterations), uint32(cost.MemoryKiB), 1, secret.Argon2HashBytes)
		}))
		b.add(row{what: what, unit: "ms CPU", got: middle(got[0], cpuOf) / 1000, bare: middle(got[1], cpuOf) / 1000,
			ratio: paired(got[0], got[1], cpuOf), target: target})
	})
}

// addPerson adds an account, at the costs of p, and returns its phone.
func addPerson(s *stage, p *portal.Portal, name string) *portal.Phone {
	p.AddAccount(s, name)
	browser := p.Browser(s)
	browser.SignIn(name)
	return browser.Enroll("Phone")
}

// steps signs in by the functions that the doors call.
func (b *bench) steps(p *portal.Portal, phone *portal.Phone, known bool) func() {
	from := login.Browser{Address: netip.MustParseAddr("127.0.0.1"), UserAgent: "bench"}
	return func() {
		p.Clock.Move(totp.Period) // each step gives one code
		begun, err := p.Login.SubmitPassword(b.ctx, "alice", portal.Password, "/", "", from)
		b.must(err)
		done, err := p.Login.SubmitCode(b.ctx, begun.Attempt.Reveal(), phone.Code(0), "", "", from)
		b.must(err)
		if done.Stage != login.StageDone {
			b.Fatal("a right code was not enough: ", done.Stage)
		}
		if known {
			from.Device = done.Device.Reveal()
		}
	}
}

// browse sends both requests over loopback.
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

// comparisons are made in each round: one alone is too short to measure, and
// leaves too little garbage to be collected.
const comparisons = 10_000

// verify measures the pure part of a code's verification, three steps whichever
// matches. A naive verifier keys an HMAC for each; a careful one keys it once,
// and copies two states for each step instead of hashing two padded keys.
func (b *bench) verify() {
	key := make([]byte, totp.SecretBytes)
	rand.Read(key)
	now := testkit.Start
	code := totp.CodeAt(key, now.Add(-totp.Period)) // the oldest step that is accepted
	var counter, sum [sha1.Size]byte
	hash := func(keyed func() func([]byte)) func() {
		return func() {
			write := keyed()
			for step := totp.Step(now) - 1; step <= totp.Step(now)+1; step++ {
				write(binary.BigEndian.AppendUint64(counter[:0], uint64(step)))
			}
		}
	}
	got := alternate(b.rounds,
		inProcess(comparisons, func() {
			state := totp.State{Secret: key}
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
			got: middle(got[0], cpuOf), bare: middle(bare, cpuOf), ratio: paired(got[0], bare, cpuOf)})
	}
}
