package totp

import (
	"crypto/rand"
	"fmt"
	"hash"
	"math"
	mathrand "math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	oracle "github.com/pquerna/otp/totp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/testkit"
)

// everyParameters returns all supported parameters.
func everyParameters() []Parameters {
	var all []Parameters
	for _, algorithm := range []Algorithm{SHA1, SHA256, SHA512} {
		for digits := 6; digits <= 8; digits++ {
			for _, period := range []time.Duration{30 * time.Second, 60 * time.Second} {
				all = append(all, Parameters{algorithm, digits, period})
			}
		}
	}
	return all
}

// randomSecret returns a secret of up to 64 bytes, as other servers make them.
func randomSecret() []byte {
	secret := make([]byte, 10+mathrand.IntN(55))
	rand.Read(secret)
	return secret
}

// oathtool returns the codes that the OATH Toolkit's program prints for consecutive steps. The
// first step is that of the time at.
func oathtool(t *testing.T, p Parameters, secret string, at time.Time, steps int) []string {
	t.Helper()
	args := []string{
		"--base32", "--totp=" + strings.ToLower(string(p.Algorithm)), "--digits", strconv.Itoa(p.Digits),
		"--time-step-size", strconv.Itoa(int(p.Period.Seconds())) + "s", "--now", "@" + strconv.FormatInt(at.Unix(), 10),
		"--window", strconv.Itoa(steps - 1), secret,
	}
	out, err := exec.Command("oathtool", args...).Output()
	if err != nil {
		t.Fatalf("oathtool %v: %v (Debian package oathtool)", args, err)
	}
	return strings.Fields(string(out))
}

// TestTwoOraclesAgree compares codes with those of two other programs, for random secrets, times
// and offsets. It also compares the accepted window with the codes that one of the programs prints.
func TestTwoOraclesAgree(t *testing.T) {
	for _, p := range everyParameters() {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			t.Parallel()
			for range 20 {
				secret, drift := randomSecret(), mathrand.Int64N(2*maxDrift+1)-maxDrift
				// Up to the year 2242, which exceeds 32 bits of seconds.
				at := time.Unix(1_000_000+mathrand.Int64N(1<<33), mathrand.Int64N(1e9))
				want, err := oracle.GenerateCodeCustom(Base32(secret), at, oracle.ValidateOpts{
					Period: uint(p.Period.Seconds()), Digits: otp.Digits(p.Digits),
					Algorithm: map[Algorithm]otp.Algorithm{SHA1: otp.AlgorithmSHA1, SHA256: otp.AlgorithmSHA256, SHA512: otp.AlgorithmSHA512}[p.Algorithm],
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := p.CodeAt(secret, at); got != want {
					t.Fatalf("code of %s at %d = %s; pquerna/otp says %s", Base32(secret), at.Unix(), got, want)
				}
				// Three steps on each side of the phone's time.
				phone := at.Add(time.Duration(drift) * p.Period)
				codes := oathtool(t, p, Base32(secret), phone.Add(-3*p.Period), 7)
				s := State{Secret: secret, Parameters: p, Drift: drift}
				for i, code := range codes {
					off := int64(i - 3)
					if got := p.CodeAt(secret, phone.Add(time.Duration(off)*p.Period)); got != code {
						t.Fatalf("code of %s at %d%+d steps = %s; oathtool says %s", Base32(secret), phone.Unix(), off, got, code)
					}
					got, accept := s.Verify(code, at), -1 <= off && off <= 1
					if (got.Result == Accepted) != accept && codes[i] != codes[2] && codes[i] != codes[3] && codes[i] != codes[4] || accept && got.Result != Accepted {
						t.Fatalf("%+d steps, drift %d: %+v, want accepted: %v", off, drift, got, accept)
					}
				}
				if len(codes) != 7 {
					t.Fatalf("oathtool printed %d codes, want 7", len(codes))
				}
			}
		})
	}
}

func TestWindowAndMinutesFollowThePeriod(t *testing.T) {
	for _, p := range everyParameters() {
		s := State{Secret: rfcKey, Parameters: p}
		here := Step(testkit.Start, p.Period)
		at := func(steps int64) string { return p.CodeAt(rfcKey, testkit.Start.Add(time.Duration(steps)*p.Period)) }
		minutes := func(steps int64) int {
			return int(math.Ceil((time.Duration(steps) * p.Period).Minutes()))
		}
		for off := int64(-lookBack - 2); off <= lookBack+2; off++ {
			var want, explained Check
			switch {
			case -1 <= off && off <= 1:
				want = Check{Result: Accepted, Step: here + off, from: here + off}
			case -lookBack <= off && off < 0:
				want = Check{Result: Slow, Minutes: minutes(-off)}
				explained = want
			case 0 < off && off <= lookBack:
				explained = Check{Result: Fast, Minutes: minutes(off)}
			}
			if got := s.Verify(at(off), testkit.Start); got != want {
				t.Errorf("%v, %+d steps: Verify = %+v, want %+v", p, off, got, want)
			}
			if got := s.Explain(at(off), testkit.Start); got != explained {
				t.Errorf("%v, %+d steps: Explain = %+v, want %+v", p, off, got, explained)
			}
			// The end of a step gives the same result as its start.
			if got := s.Verify(at(off), testkit.Start.Add(p.Period-time.Nanosecond)); got != want {
				t.Errorf("%v, %+d steps, at the step's end: Verify = %+v, want %+v", p, off, got, want)
			}
		}
		for off := int64(-maxDrift - 1); off <= maxDrift+1; off++ {
			got := s.VerifyPair(at(off-1), at(off), testkit.Start)
			if accept := -maxDrift <= off && off <= maxDrift; (got.Result == Accepted) != accept || accept && (got.Step != here+off || got.Drift != off && (off < -1 || off > 1)) {
				t.Errorf("%v, pair of %+d steps: %+v", p, off, got)
			}
		}
		s.LastStep = here + 8
		if got, want := s.Verify(at(0), testkit.Start), (Check{Result: SetBack, Minutes: minutes(9)}); got != want {
			t.Errorf("%v, set back by 8 steps: %+v, want %+v", p, got, want)
		}
	}
}

func TestCodesOfAnotherLengthOrPeriodAreWrong(t *testing.T) {
	for _, p := range everyParameters() {
		for _, other := range everyParameters() {
			if p == other {
				continue
			}
			s, code := State{Secret: rfcKey, Parameters: p}, other.CodeAt(rfcKey, testkit.Start)
			if got := s.Verify(code, testkit.Start); got != (Check{}) {
				t.Errorf("%v: Verify of a code with %v: %+v; want the zero Check", p, other, got)
			}
			next := other.CodeAt(rfcKey, testkit.Start.Add(other.Period))
			if got := s.VerifyPair(code, next, testkit.Start); got != (Check{}) {
				t.Errorf("%v: VerifyPair of codes with %v: %+v; want the zero Check", p, other, got)
			}
		}
	}
}

// unsupported are parameters of other servers and impossible ones.
var unsupported = []struct {
	algorithm       string
	digits, seconds int64
}{
	{"SHA-1", 6, 30}, {"sha1", 6, 30}, {"", 6, 30}, {"MD5", 6, 30}, {"SHA384", 6, 30}, {"SHA3-256", 6, 30}, {"SHA1 ", 6, 30}, {"HmacSHA256", 8, 60},
	{"SHA1", 0, 30}, {"SHA1", 1, 30}, {"SHA1", 5, 30}, {"SHA1", 9, 30}, {"SHA1", 10, 30}, {"SHA1", -6, 30}, {"SHA256", 6 + 1<<32, 30}, {"SHA512", math.MinInt64, 30},
	{"SHA1", 6, 0}, {"SHA1", 6, 1}, {"SHA1", 6, 10}, {"SHA1", 6, 15}, {"SHA1", 6, 29}, {"SHA1", 6, 45}, {"SHA1", 6, 90}, {"SHA1", 6, 120}, {"SHA1", 6, -30},
	// Multiplied by a second, the first of these overflows to 30 s.
	{"SHA1", 6, 30 + 1<<55}, {"SHA1", 6, math.MaxInt64}, {"SHA1", 6, 30_000_000_000},
}

func TestNoCodeIsRightWithUnsupportedParameters(t *testing.T) {
	for _, bad := range unsupported {
		if p, err := parametersOf(bad.algorithm, bad.digits, bad.seconds); err == nil || p != (Parameters{}) {
			t.Errorf("parametersOf(%q, %d, %d) = %+v, %v; want an error", bad.algorithm, bad.digits, bad.seconds, p, err)
		}
	}
	for _, p := range []Parameters{
		{}, {SHA1, 0, 30 * time.Second}, {SHA1, 6, 0}, {"", 6, 30 * time.Second}, {SHA1, 6, time.Nanosecond}, {SHA1, 6, 30*time.Second + 1}, {SHA1, 9, 60 * time.Second},
	} {
		s := State{Secret: rfcKey, Parameters: p}
		for _, code := range []string{"", "0", CodeAt(rfcKey, testkit.Start), "00000000"} {
			for _, got := range []Check{s.Verify(code, testkit.Start), s.VerifyPair(code, code, testkit.Start), s.Explain(code, testkit.Start)} {
				if got != (Check{}) {
					t.Errorf("%+v: %q gives %+v; want the zero Check", p, code, got)
				}
			}
		}
	}
	// Without a secret, every client could compute the codes.
	empty := State{Parameters: Standard()}
	if got := empty.Verify(CodeAt([]byte{0}, testkit.Start), testkit.Start); got != (Check{}) {
		t.Errorf("a code of the empty secret gives %+v, want the zero Check", got)
	}
}

func TestSupportedParametersReadBack(t *testing.T) {
	for _, p := range everyParameters() {
		got, err := parametersOf(string(p.Algorithm), int64(p.Digits), int64(p.Period/time.Second))
		if err != nil || got != p {
			t.Errorf("parametersOf of %+v = %+v, %v; want them unchanged", p, got, err)
		}
	}
	if Standard() != (Parameters{"SHA1", 6, 30 * time.Second}) {
		t.Errorf("new authenticators have %+v, want SHA-1, 6 digits, 30 s", Standard())
	}
}

// TestGuessesCostWhatTheyCanWin lets a guesser spend the units of a year in any way, on accounts
// with any authenticators.
func TestGuessesCostWhatTheyCanWin(t *testing.T) {
	const (
		perYear = 25   // rules of package throttle
		unit    = 3e-6 // three of a million codes
	)
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.SliceOfN(rapid.IntRange(6, 8), 1, 5).Draw(t, "digits of the authenticators")
		left, miss := perYear, 1.0
		for left > 0 {
			length := rapid.SampledFrom(digits).Draw(t, "length of the guess")
			n := 0
			for _, d := range digits {
				if d == length {
					n++
				}
			}
			cost := Units(n, length)
			if cost < 1 || cost > n {
				t.Fatalf("%d authenticators with %d digits: a guess costs %d units, want 1 to %d", n, length, cost, n)
			}
			wins := float64(n*(2*window+1)) / math.Pow10(length)
			if wins > float64(cost)*unit*(1+1e-9) {
				t.Fatalf("%d authenticators with %d digits: a guess wins with p = %e and costs %d units, want more units", n, length, wins, cost)
			}
			if left -= cost; left >= 0 {
				miss *= 1 - wins
			}
		}
		if p := 1 - miss; p > perYear*unit {
			t.Fatalf("%v: p = %e in a year, want at most %e", digits, p, perYear*unit)
		}
	})
	for _, test := range []struct{ n, digits, want int }{
		{0, 6, 0}, {0, 8, 0}, {1, 6, 1}, {5, 6, 5}, {1, 7, 1}, {5, 7, 1}, {10, 7, 1}, {11, 7, 2}, {1, 8, 1}, {5, 8, 1}, {100, 8, 1}, {101, 8, 2},
	} {
		if got := Units(test.n, test.digits); got != test.want {
			t.Errorf("Units(%d, %d) = %d, want %d", test.n, test.digits, got, test.want)
		}
	}
}

// TestAWindowHasThreeCodes counts how many of all codes with six digits are right at one time,
// with the longer period. A unit of the ledger stands for three right codes.
func TestAWindowHasThreeCodes(t *testing.T) {
	t.Parallel()
	p := Parameters{SHA1, 6, 60 * time.Second}
	s := State{Secret: rfcKey, Parameters: p}
	var want, accepted []string
	for off := -1; off <= 1; off++ {
		want = append(want, p.CodeAt(rfcKey, testkit.Start.Add(time.Duration(off)*p.Period)))
	}
	slices.Sort(want)
	g := s.generator()
	for n := range 1_000_000 {
		if code := fmt.Sprintf("%06d", n); s.verifyWindow(g, code, testkit.Start).Result == Accepted {
			accepted = append(accepted, code)
		}
	}
	if !slices.Equal(accepted, want) {
		t.Errorf("accepted are %v, want %v", accepted, want)
	}
}

// countingHash counts the codes that are computed with a hash.
type countingHash struct {
	hash.Hash
	n *int
}

func (c countingHash) Reset() { *c.n++; c.Hash.Reset() }

func TestComparingTakesAsManyCodesForEveryResult(t *testing.T) {
	for _, p := range everyParameters() {
		for _, drift := range []int64{0, 3, -10} {
			here := Step(testkit.Start, p.Period)
			s := State{Secret: rfcKey, Parameters: p, Drift: drift, LastStep: here - 15}
			seen := map[int]bool{}
			results := map[Result]bool{}
			for _, off := range []int64{-20, -17, -10, -5, -2, -1, 0, 1, 5, 100} {
				code := p.CodeAt(rfcKey, testkit.Start.Add(time.Duration(drift+off)*p.Period))
				computed := 0
				g := s.generator()
				g.mac = countingHash{g.mac, &computed}
				results[s.verify(g, code, testkit.Start).Result] = true
				seen[computed] = true
			}
			if len(seen) != 1 || len(results) < 3 {
				t.Errorf("%v, drift %d: codes computed %v, for the results %v; want the same number for each", p, drift, seen, results)
			}
		}
	}
}
