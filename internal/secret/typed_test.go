package secret

import (
	"strings"
	"testing"
)

func TestTypedCodesUseTheWholeAlphabetEvenly(t *testing.T) {
	count := map[rune]int{}
	for range 4000 {
		for _, r := range NewTyped(8) {
			count[r]++
		}
	}
	for _, r := range alphabet { // 1,000 each, with a standard deviation of 31
		if n := count[r]; n < 800 || n > 1200 {
			t.Errorf("%c occurs %d times in 32,000 symbols, want about 1,000", r, n)
		}
		delete(count, r)
	}
	if len(count) > 0 {
		t.Errorf("symbols outside the alphabet: %v", count)
	}
}

func FuzzNormalizeTyped(f *testing.F) {
	for _, typed := range []string{"", "ABCD-EFGH", "abcd efgh", "oooo-iill", "ABCDEFGU", "ABCDEFG", "ABCDEFGHJ", strings.Repeat("-", 33) + "ABCDEFGH", "ＡBCDEFGH", "\xff"} {
		f.Add(typed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := NormalizeTyped(typed, 8)
		if !ok {
			if code != "" {
				t.Fatalf("NormalizeTyped(%q) = %q, and not ok", typed, code)
			}
			return
		}
		if len(code) != 8 || strings.Trim(code, alphabet) != "" {
			t.Fatalf("NormalizeTyped(%q) = %q, want 8 symbols of the alphabet", typed, code)
		}
		for _, again := range []string{code, strings.ToLower(code), code[:4] + "-" + code[4:], " " + code, strings.NewReplacer("0", "o", "1", "l").Replace(code)} {
			if got, ok := NormalizeTyped(again, 8); !ok || got != code {
				t.Fatalf("NormalizeTyped(%q) = %q, %v; want %q", again, got, ok, code)
			}
		}
	})
}
