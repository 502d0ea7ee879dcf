package login

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestFormatHasEveryLengthAndTheLongestPeriod(t *testing.T) {
	six, eight := totp.Standard(), totp.Parameters{Algorithm: totp.SHA256, Digits: 8, Period: time.Minute}
	for _, test := range []struct {
		all    []totp.Parameters
		digits []int
		period time.Duration
		units  map[int]int // by the length of the guess
	}{
		{nil, nil, 30 * time.Second, nil},
		{[]totp.Parameters{{}}, nil, 30 * time.Second, nil},
		{[]totp.Parameters{six}, []int{6}, 30 * time.Second, map[int]int{6: 1, 7: 0, 8: 0}},
		{[]totp.Parameters{eight, six}, []int{6, 8}, time.Minute, map[int]int{6: 1, 7: 0, 8: 1}},
		{[]totp.Parameters{six, eight, {}, six, eight}, []int{6, 8}, time.Minute, map[int]int{6: 2, 8: 1}},
		{[]totp.Parameters{eight, eight, eight, eight, eight}, []int{8}, time.Minute, map[int]int{6: 0, 8: 1}},
	} {
		f := formatOf(test.all)
		if !slices.Equal(f.Digits, test.digits) || f.Period != test.period {
			t.Errorf("%v: format %+v, want %v and %v", test.all, f, test.digits, test.period)
		}
		for digits, want := range test.units {
			if got := unitsOf(test.all, digits); got != want {
				t.Errorf("%v: a guess with %d digits costs %d units, want %d", test.all, digits, got, want)
			}
			// Every format that is accepted costs at least one unit: for the ledger, a try of 0
			// units is an error.
			if got := f.accepts(fmt.Sprintf("%0*d", digits, 0), ""); got != (want > 0) {
				t.Errorf("%v: a code of %d digits, which costs %d units, is accepted: %v, want %v", test.all, digits, want, got, want > 0)
			}
		}
	}
	f := formatOf([]totp.Parameters{six, eight})
	for _, pair := range [][2]string{{"123456", "12345678"}, {"12345678", "123456"}, {"1234567", "1234567"}, {"123456", "1234567"}} {
		if f.accepts(pair[0], pair[1]) {
			t.Errorf("the pair %v, which no authenticator can show, is accepted", pair)
		}
	}
	if !f.accepts("123456", "654321") || !f.accepts("12345678", "87654321") {
		t.Error("a pair of codes with the same length is refused, want it accepted")
	}
}

// loadedWith returns authenticators with a secret each, named by their order.
func loadedWith(all ...totp.Parameters) []loadedTOTP {
	loaded := make([]loadedTOTP, len(all))
	for i, p := range all {
		loaded[i].Authenticator = authenticator.Authenticator{ID: fmt.Sprint(i)}
		loaded[i].State = totp.State{Secret: []byte(fmt.Sprint("secret of the authenticator ", i)), Parameters: p}
	}
	return loaded
}

func TestCompareFindsTheAuthenticatorOfACode(t *testing.T) {
	loaded := loadedWith(totp.Standard(), totp.Parameters{Algorithm: totp.SHA256, Digits: 8, Period: time.Minute},
		totp.Parameters{Algorithm: totp.SHA512, Digits: 6, Period: time.Minute}, totp.Parameters{Algorithm: totp.SHA1, Digits: 7, Period: 30 * time.Second},
		totp.Parameters{Algorithm: totp.SHA512, Digits: 8, Period: 30 * time.Second})
	for i, one := range loaded {
		code, next := one.CodeAt(one.Secret, testkit.Start), one.CodeAt(one.Secret, testkit.Start.Add(one.Period))
		step := totp.Step(testkit.Start, one.Period)
		if by, check := compare(loaded, code, "", testkit.Start); by.ID != one.ID || check.Result != totp.Accepted || check.Step != step {
			t.Errorf("code of authenticator %d: %q, %+v; want it accepted for step %d of %q", i, by.ID, check, step, one.ID)
		}
		if by, check := compare(loaded, code, next, testkit.Start); by.ID != one.ID || check.Result != totp.Accepted || check.Step != step+1 {
			t.Errorf("pair of authenticator %d: %q, %+v; want it accepted for step %d of %q", i, by.ID, check, step+1, one.ID)
		}
		// A code and a code of another authenticator are no pair.
		other := loaded[(i+1)%len(loaded)]
		if by, check := compare(loaded, code, other.CodeAt(other.Secret, testkit.Start.Add(other.Period)), testkit.Start); check != (totp.Check{}) {
			t.Errorf("code of authenticator %d, then one of another: %q, %+v; want no match", i, by.ID, check)
		}
		loaded[i].LastStep = step
		if by, check := compare(loaded, code, "", testkit.Start); by.ID != one.ID || check.Result != totp.Reused {
			t.Errorf("used code of authenticator %d: %q, %+v; want Reused by %q", i, by.ID, check, one.ID)
		}
	}
}
