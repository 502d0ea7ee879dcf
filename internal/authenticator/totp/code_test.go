package totp

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/pquerna/otp/hotp"

	"github.com/sallyport/sallyport/internal/testkit"
)

// rfcKey is the secret of the RFCs' vectors.
var rfcKey = []byte("12345678901234567890")

// here is the step of [testkit.Start].
var here = Step(testkit.Start, Period)

// codeOf returns the code of rfcKey at a step.
func codeOf(step int64) string { return CodeAt(rfcKey, time.Unix(step*30, 0)) }

func TestRFC4226Vectors(t *testing.T) {
	g := newGenerator(sha1.New, rfcKey, 6)
	for counter, want := range []string{
		"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
	} {
		code := g.code(int64(counter))
		if got := string(code[:6]); got != want {
			t.Errorf("HOTP(%d) = %s, want %s", counter, got, want)
		}
		if !g.is(int64(counter), want) {
			t.Errorf("HOTP(%d) is not %s", counter, want)
		}
	}
}

// TestRFC6238Vectors has all vectors of RFC 6238, appendix B. Errata 2866 says that the key has
// 32 bytes with SHA-256 and 64 bytes with SHA-512.
func TestRFC6238Vectors(t *testing.T) {
	key := func(n int) []byte { return []byte(strings.Repeat("1234567890", 7)[:n]) }
	algorithms := []struct {
		name Algorithm
		key  []byte
	}{{SHA1, key(20)}, {SHA256, key(32)}, {SHA512, key(64)}}
	for _, v := range []struct {
		unix int64
		want [3]string
	}{
		{59, [3]string{"94287082", "46119246", "90693936"}},
		{1111111109, [3]string{"07081804", "68084774", "25091201"}},
		{1111111111, [3]string{"14050471", "67062674", "99943326"}},
		{1234567890, [3]string{"89005924", "91819424", "93441116"}},
		{2000000000, [3]string{"69279037", "90698825", "38618901"}},
		{20000000000, [3]string{"65353130", "77737706", "47863826"}},
	} {
		at := time.Unix(v.unix, 0)
		for i, a := range algorithms {
			for digits := minDigits; digits <= maxDigits; digits++ {
				s := State{Secret: a.key, Parameters: Parameters{a.name, digits, 30 * time.Second}}
				// A shorter code is the end of a longer one (RFC 4226, section 5.3, step 3).
				want := v.want[i][8-digits:]
				if got := s.CodeAt(a.key, at); got != want {
					t.Errorf("%s, %d digits, at %d: %s, want %s", a.name, digits, v.unix, got, want)
				}
				if got := s.Verify(want, at); got.Result != Accepted || got.Step != v.unix/30 {
					t.Errorf("%s, %d digits, at %d: Verify(%s) = %+v", a.name, digits, v.unix, want, got)
				}
			}
		}
		if got, want := CodeAt(rfcKey, at), v.want[0][2:]; got != want {
			t.Errorf("CodeAt(%d) = %s, want the last six digits %s", v.unix, got, want)
		}
	}
}

func TestCodesPastTheYear6000AreRight(t *testing.T) {
	// An implementation with a 32-bit counter would start again after 2³² steps.
	for _, step := range []int64{1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<40 + 7} {
		want, err := hotp.GenerateCode(Base32(rfcKey), uint64(step))
		if err != nil {
			t.Fatal(err)
		}
		if got := codeOf(step); got != want {
			t.Errorf("code of step %d = %s, want %s", step, got, want)
		}
	}
	if codeOf(1<<32+1) == codeOf(1) {
		t.Error("step 2³²+1 has the code of step 1")
	}
	now := time.Unix((1<<32+1)*30, 0)
	if got := (State{Secret: rfcKey, Parameters: Standard()}).Verify(codeOf(1<<32+1), now); got.Result != Accepted || got.Step != 1<<32+1 {
		t.Errorf("Verify past 2³² steps = %+v, want Accepted for step 2³²+1", got)
	}
}

func TestWindowIsOneStepEachSide(t *testing.T) {
	for _, drift := range []int64{0, 2, -2, 10, -10} {
		for offset, want := range map[int64]bool{
			-90: false, -60: false, -30: true, 0: true, 30: true, 60: false, 90: false,
		} {
			for _, within := range []time.Duration{0, Period - time.Nanosecond} {
				now := testkit.Start.Add(within)
				step := here + drift + offset/30
				got := State{Secret: rfcKey, Parameters: Standard(), Drift: drift}.Verify(codeOf(step), now)
				if (got.Result == Accepted) != want {
					t.Errorf("drift %d, %+d s, %v into the step: %+v, want accepted %v", drift, offset, within, got, want)
				}
				if want && got != (Check{Result: Accepted, Step: step, Drift: drift, from: step}) {
					t.Errorf("drift %d, %+d s: %+v doesn't claim step %d", drift, offset, got, step)
				}
			}
		}
	}
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name        string
		last, drift int64 // last is a step relative to the variable here; 0 if no step is used
		used        bool
		code        int64 // its step, relative to here
		want        Check
	}{
		{name: "used a moment ago", used: true, last: 0, code: 0, want: Check{Result: Reused}},
		{name: "older than a used one, never used itself (attack 29)", used: true, last: 0, code: -1, want: Check{Result: Reused}},
		{name: "two older than a used one", used: true, last: 1, code: -1, want: Check{Result: Reused}},
		{name: "used five steps ago", used: true, last: -5, code: -5, want: Check{Result: Reused}},
		{name: "next after a used one", used: true, last: 0, code: 1, want: Check{Result: Accepted, Step: here + 1, from: here + 1}},
		{name: "slow by a minute", code: -2, want: Check{Result: Slow, Minutes: 1}},
		{name: "slow by a minute and a half", code: -3, want: Check{Result: Slow, Minutes: 2}},
		{name: "slow by ten minutes", code: -20, want: Check{Result: Slow, Minutes: 10}},
		{name: "slow by more", code: -21, want: Check{}},
		{name: "slow, last used before that", used: true, last: -10, code: -9, want: Check{Result: Slow, Minutes: 5}},
		{name: "set back by three minutes", used: true, last: 5, code: 0, want: Check{Result: SetBack, Minutes: 3}},
		{name: "set back by three steps", used: true, last: 1, code: -2, want: Check{Result: SetBack, Minutes: 2}},
		{name: "set back by ten minutes", used: true, last: 0, code: -20, want: Check{Result: SetBack, Minutes: 11}},
		{name: "the learned drift ended", drift: 5, code: 0, want: Check{Result: ClockChanged}},
		{name: "the learned drift ended, last code typed slowly", drift: 5, code: -1, want: Check{Result: ClockChanged}},
		{name: "the drift changed its direction", drift: 5, code: -4, want: Check{Result: Slow, Minutes: 2}},
		{name: "the clock was corrected after a code with the drift", drift: 5, used: true, last: 5, code: 0, want: Check{Result: SetBack, Minutes: 3}},
		{name: "a slow phone's code of our time is its future", drift: -10, code: 0, want: Check{}},
		{name: "fast by a minute", code: 2, want: Check{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := State{Secret: rfcKey, Parameters: Standard(), Drift: test.drift}
			if test.used {
				s.LastStep = here + test.last
			}
			if got := s.Verify(codeOf(here+test.code), testkit.Start); got != test.want {
				t.Errorf("Verify = %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestVerifyNeverExplainsTheFuture(t *testing.T) {
	// If a guesser learned that a guess will be right in a minute, they would just wait.
	for _, drift := range []int64{0, 2, 10, -2, -10} {
		for _, last := range []int64{0, here - 30, here - 1, here, here + 12} {
			for ahead := int64(window + 1); ahead <= 3*lookBack; ahead++ {
				s := State{Secret: rfcKey, Parameters: Standard(), Drift: drift, LastStep: last}
				if got := s.Verify(codeOf(here+drift+ahead), testkit.Start); got != (Check{}) {
					t.Errorf("drift %d, last %d: the code %d steps ahead gives %+v; want the zero Check", drift, last-here, ahead, got)
				}
			}
		}
	}
}

func TestOnlyTheKeysCodesAreAccepted(t *testing.T) {
	s := State{Secret: rfcKey, Parameters: Standard()}
	right := []string{codeOf(here - 1), codeOf(here), codeOf(here + 1)}
	tries := slices.Clone(right)
	for n := range 20_000 {
		tries = append(tries, fmt.Sprintf("%06d", n*50))
	}
	for _, code := range tries {
		if got := s.Verify(code, testkit.Start).Result == Accepted; got != slices.Contains(right, code) {
			t.Errorf("Verify(%s) accepted: %v", code, got)
		}
	}
	for _, code := range []string{"", codeOf(here)[:5], codeOf(here) + "0", "000000000000"} {
		if got := s.Verify(code, testkit.Start); got != (Check{}) {
			t.Errorf("Verify(%q) = %+v; want the zero Check", code, got)
		}
	}
	other := State{Secret: []byte("another key of 20 by"), Parameters: Standard()}
	if got := other.Verify(codeOf(here), testkit.Start); got != (Check{}) {
		t.Errorf("another key's code (R9) gives %+v, want the zero Check", got)
	}
}

func TestLeadingZerosCount(t *testing.T) {
	// Find a step whose code begins with a zero (attack 34).
	step := here
	for !strings.HasPrefix(codeOf(step), "0") {
		step++
	}
	s, now := State{Secret: rfcKey, Parameters: Standard()}, time.Unix(step*30, 0)
	if got := s.Verify(codeOf(step), now); got.Result != Accepted {
		t.Errorf("Verify(%s) = %+v; want Accepted", codeOf(step), got)
	}
	if got := s.Verify(strings.TrimLeft(codeOf(step), "0"), now); got != (Check{}) {
		t.Errorf("accepted without its leading zero: %+v", got)
	}
}

func TestPairFindsAPhoneUpToTenStepsOff(t *testing.T) {
	for _, test := range []struct {
		name          string
		first, second int64 // steps, relative to here
		last          int64 // the last used step, relative to here
		used          bool
		drift         int64 // the drift learned before
		want          Check
	}{
		{name: "on time", first: 0, second: 1, want: Check{Result: Accepted, Step: here + 1, from: here}},
		{name: "just past", first: -1, second: 0, want: Check{Result: Accepted, Step: here, from: here - 1}},
		{name: "a step past", first: -2, second: -1, want: Check{Result: Accepted, Step: here - 1, from: here - 2}},
		{name: "two steps slow", first: -3, second: -2, want: Check{Result: Accepted, Step: here - 2, Drift: -2, from: here - 3}},
		{name: "two steps fast", first: 1, second: 2, want: Check{Result: Accepted, Step: here + 2, Drift: 2, from: here + 1}},
		{name: "ten steps fast", first: 9, second: 10, want: Check{Result: Accepted, Step: here + 10, Drift: 10, from: here + 9}},
		{name: "ten steps slow", first: -11, second: -10, want: Check{Result: Accepted, Step: here - 10, Drift: -10, from: here - 11}},
		{name: "eleven steps fast", first: 10, second: 11},
		{name: "eleven steps slow", first: -12, second: -11},
		{name: "a learned drift that ended", first: 0, second: 1, drift: 10, want: Check{Result: Accepted, Step: here + 1, from: here}},
		{name: "same step twice", first: 0, second: 0},
		{name: "not consecutive", first: 0, second: 2},
		{name: "in reverse order", first: 1, second: 0},
		{name: "first used, second not: the answer does not reveal that the second is right", first: 0, second: 1, used: true, last: 0},
		{name: "both used", first: 0, second: 1, used: true, last: 1, want: Check{Result: Reused}},
		{name: "after the used one", first: 1, second: 2, used: true, last: 0, want: Check{Result: Accepted, Step: here + 2, Drift: 2, from: here + 1}},
		{name: "set back", first: 0, second: 1, used: true, last: 8, want: Check{Result: SetBack, Minutes: 5}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := State{Secret: rfcKey, Parameters: Standard(), Drift: test.drift}
			if test.used {
				s.LastStep = here + test.last
			}
			if got := s.VerifyPair(codeOf(here+test.first), codeOf(here+test.second), testkit.Start); got != test.want {
				t.Errorf("VerifyPair = %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestHalfRightPairsTellNothing(t *testing.T) {
	// All of these give the same Check as an entirely wrong pair (attack 12).
	const wrong, wrongToo = "000000", "111111"
	for _, last := range []int64{0, here - 1, here, here + 12} {
		s := State{Secret: rfcKey, Parameters: Standard(), LastStep: last}
		for off := int64(-maxDrift - 1); off <= maxDrift; off++ {
			right := codeOf(here + off)
			for _, pair := range [][2]string{
				{right, wrong}, {wrong, right}, {right, right}, {right, codeOf(here + off + 2)}, {codeOf(here + off + 1), right}, {wrong, wrongToo},
			} {
				if got := s.VerifyPair(pair[0], pair[1], testkit.Start); got != (Check{}) {
					t.Errorf("last %d, %+d steps: pair %v gives %+v; want the zero Check", last, off, pair, got)
				}
			}
		}
	}
	s := State{Secret: rfcKey, Parameters: Standard()}
	if got := s.VerifyPair(codeOf(here), codeOf(here+1), testkit.Start); got.Result != Accepted {
		t.Errorf("the right pair gives %+v, want Accepted", got)
	}
}

func TestExplainKnowsSlowAndFast(t *testing.T) {
	s := State{Secret: rfcKey, Parameters: Standard()}
	for off := int64(-lookBack - 5); off <= lookBack+5; off++ {
		var want Check
		minutes := int(max(off, -off)+1) / 2 // a minute has two steps; rounded up
		switch {
		case -lookBack <= off && off < -window:
			want = Check{Result: Slow, Minutes: minutes}
		case window < off && off <= lookBack:
			want = Check{Result: Fast, Minutes: minutes}
		}
		if got := s.Explain(codeOf(here+off), testkit.Start); got != want {
			t.Errorf("%+d steps: %+v, want %+v", off, got, want)
		}
	}
}

// typed maps texts to their normal form, or to "" if they are malformed (attack 32).
var typed = map[string]string{
	"123456": "123456", "000123": "000123", "123 456": "123456", "1 23456": "123456", "12345 6": "123456",
	" 123456": "123456", "123456 ": "123456", " 12345": "", "12345 ": "", " 12 34 56": "123456", "123  456": "123456", "      ": "", " ": "",
	"123-456": "123456", "12-34-56": "123456", "123\u2013456": "123456", "123\u00a0456": "123456", "123\u2009456": "123456", "-": "", "------": "",
	"123456\n": "", "\n123456": "", "123456\r\n": "", "123\t456": "", "123\n456": "", "+123456": "", "+12345": "", "-12345": "",
	"0123456": "0123456", "1234567": "1234567", "1234 5678": "12345678", "0000-0000": "00000000", "12345": "", "123456789": "", "1234 56789": "", "1e5": "", "1e5000": "", "123456.0": "", "1234.5": "", "": "", "\x00": "", "123456\x00": "", "12345\x00": "",
	"0x1234": "", "123,456": "", "123_456": "", "123\u200b456": "", "１２３４５６": "", "١٢٣٤٥٦": "", "12345６": "", "1２": "",
	"\xff\xff\xff\xff\xff\xff": "", "12345\xff": "", "abcdef": "", "123456, 123456": "", "123456 123456": "", `"123456"`: "", "[1,2,3]": "",
	strings.Repeat("1", 1<<20): "", "1 " + strings.Repeat(" ", 1<<20): "",
}

func TestOnlyDigitsAreCompared(t *testing.T) {
	for in, want := range typed {
		got, err := Normalize(in)
		switch {
		case want != "" && (err != nil || got != want):
			t.Errorf("Normalize(%.20q) = %q, %v; want %q", in, got, err, want)
		case want == "" && (err != ErrMalformed || got != ""):
			t.Errorf("Normalize(%.20q) = %q, %v; want ErrMalformed", in, got, err)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for in := range typed {
		if len(in) < 100 {
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := Normalize(in)
		if err != nil {
			return
		}
		if len(got) < 6 || len(got) > 8 || strings.Trim(got, "0123456789") != "" {
			t.Fatalf("Normalize(%q) = %q, not six to eight digits", in, got)
		}
		for _, r := range in {
			if (r < '0' || r > '9') && !unicode.In(r, unicode.Zs, unicode.Pd) {
				t.Fatalf("Normalize(%q) = %q removed more than spaces and dashes", in, got)
			}
		}
		if again, err := Normalize(got); err != nil || again != got {
			t.Fatalf("Normalize(%q) = %q, %v; want it unchanged", got, again, err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("12345678901234567890"), "SHA1", 6, int64(30), "123456", int64(1_700_000_000), int64(0), int64(0))
	f.Add([]byte("12345678901234567890123456789012"), "SHA512", 8, int64(60), "12345678", int64(1_700_000_000), int64(3), int64(0))
	f.Add([]byte{}, "SHA256", 7, int64(60), "", int64(-1), int64(-10), int64(1)<<62)
	f.Add([]byte{1}, "MD5", 0, int64(0), "", int64(59), int64(1), int64(1))
	f.Fuzz(func(t *testing.T, key []byte, algorithm string, digits int, seconds int64, code string, unix, drift, last int64) {
		drift = drift % (maxDrift + 1)
		// The range of clocks, and steps from 1 on.
		last = max(0, last) % (1 << 40)
		now := time.Unix(1_000_000+int64(uint64(unix)%(1<<40)), 0)
		p := Parameters{Algorithm(algorithm), digits, time.Duration(seconds) * time.Second}
		s := State{Secret: key, Parameters: p, Drift: drift, LastStep: last}
		isVerifiable := len(key) > 0 && slices.Contains(everyParameters(), p)
		now1 := p.CodeAt(key, now)
		if (now1 != "") != isVerifiable {
			t.Fatalf("%+v with a secret of %d bytes shows the code %q, want a code only if it is verifiable", p, len(key), now1)
		}
		for _, c := range []Check{
			s.Verify(code, now), s.Verify(now1, now), s.Explain(code, now),
			s.VerifyPair(code, now1, now), s.VerifyPair(now1, p.CodeAt(key, now.Add(p.Period)), now),
		} {
			if c != (Check{}) && !isVerifiable {
				t.Fatalf("%+v with a secret of %d bytes: %+v, want the zero Check", p, len(key), c)
			}
			if c.Result == Accepted && (c.from <= last || c.Step < c.from) {
				t.Fatalf("accepted %+v after step %d", c, last)
			}
			if (c.Result == Slow || c.Result == Fast || c.Result == SetBack) && c.Minutes < 1 {
				t.Fatalf("Verify = %+v, want at least a minute", c)
			}
		}
		for _, c := range []Check{s.Verify(code, now), s.VerifyPair(code, now1, now)} {
			if c.Result == Fast || len(code) != digits && c.Result != Wrong {
				t.Fatalf("%q with %d digits: %+v; want Wrong for another length, and never Fast", code, digits, c)
			}
		}
	})
}

func TestStepsBeginAtTheEpoch(t *testing.T) {
	for unix, want := range map[int64][2]int64{
		0: {0, 0}, 29: {0, 0}, 30: {1, 0}, 59: {1, 0}, 60: {2, 1}, 119: {3, 1}, 120: {4, 2}, 1<<40 - 1: {(1<<40 - 1) / 30, (1<<40 - 1) / 60},
	} {
		for i, period := range periods {
			if got := Step(time.Unix(unix, 999_999_999), period); got != want[i] {
				t.Errorf("Step(%d, %v) = %d, want %d", unix, period, got, want[i])
			}
		}
	}
	if here*30 != testkit.Start.Unix() {
		t.Errorf("testkit.Start isn't the start of a step")
	}
}
