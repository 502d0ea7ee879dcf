package password

import (
	"errors"
	"testing"
)

// Attack 130.
func TestAttack130GuessablePasswordsAreRefused(t *testing.T) {
	words := []string{"Streaming panel", "ada", "Ada Lovelace", "lovelace@example.com"}
	for _, typed := range []string{
		"password", "123456", "qwerty", "iloveyou", "PASSWORD", "password123456",
		"aaaaaaaaaaaaaaaaaaaa", "121212121212121212", "abcdefghijklmnopqr", "123456789012345678",
		"streamingpanel1", "ada lovelace 2026", "LovelaceLovelace!", "lovelace@example.com",
	} {
		if err := Check(typed, 6, words...); !errors.Is(err, ErrCommon) {
			t.Errorf("%q: %v, want ErrCommon", typed, err)
		}
	}
	for _, typed := range []string{
		"correct horse battery", "k7qp-3m9x-tw2d-5abc", "la vache qui rit encore", "пароль из пяти слов", "😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰",
		"my panel shows seven lamps",
	} {
		if err := Check(typed, 15, words...); err != nil {
			t.Errorf("%q: %v, want none", typed, err)
		}
	}
}
