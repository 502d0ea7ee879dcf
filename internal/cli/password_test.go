package cli

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/testkit"
)

// Attacks 129 and 130 on the command line: passwords follow the same rules as on the
// portal's pages, and errors have the same words.
func TestAttack129And130PasswordsOnTheCommandLine(t *testing.T) {
	const (
		short   = "password is too short: it needs at least 15 characters (password.min_length)"
		long    = "password is too long: it may have 256 characters at most"
		invalid = "password contains characters that can't be typed on every keyboard: use letters, digits, spaces and punctuation"
		guessed = "password is easy to guess: "
		lines   = "standard input has more than one line, and a password is one line"
	)
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			if code, _, errs := call(environ, "seven lamps by the door\r\n", "account", "add", "ada", "--password-stdin"); code != 0 || errs != "" {
				t.Fatalf("exit code %d, want 0, got\n%s", code, errs)
			}
			for in, want := range map[string]string{
				"":                             short,
				"\n":                           short,
				"fourteen chars\n":             short,
				strings.Repeat("🙂", 14) + "\n": short,
				norm.NFD.String("éééééééééééééé"):   short,
				strings.Repeat("x", 257):            long,
				strings.Repeat("x", 1_000_000):      long,
				strings.Repeat("x\n", 5):            lines,
				"a password of two\nlines in all\n": lines,
				"a password and a second end\n\n":   lines,
				"a password with \x00 in it\n":      invalid,
				"a password with \xff in it\n":      invalid,
				"a password with \r in it\n":        invalid,
				"a password with two ends\r\r\n":    invalid,
				"\ufeffa password with a mark\n":    invalid,
				"passwordpassword\n":                guessed + "much of it is on lists of common passwords; add another word or two",
				"ada at sallyport\n":                guessed + "attackers try the account's name and the site's name first; add other words",
				"qwertyuiop asdfghjkl\n":            guessed + "sequences like 12345 or qwerty are easy to guess; add a word or two",
				"abcxabcxabcxabcxabcx\n":            guessed + "repeating it adds little; add other words",
			} {
				for _, command := range [][]string{{"add", "adam"}, {"set-password", "ada"}} {
					args := append([]string{"account"}, append(command, "--password-stdin")...)
					code, out, errs := call(environ, in, args...)
					if code != exitFailed || out != "" || errs != "sallyport: "+want+"\n" {
						t.Errorf("%s with %.40q: %d, %q, %q; want %q", command[0], in, code, out, errs, want)
					}
				}
			}
			if code, _, errs := call(environ, "seven lamps by the door \n", "account", "add", "eve", "--password-stdin"); code != 0 || errs != "That password begins or ends with a space, which is a part of it.\n" {
				t.Errorf("a space at the end: %d, %q, want a warning", code, errs)
			}
			if code, _, errs := call(environ, "", "account", "show", "adam"); code != exitFailed || !strings.Contains(errs, "there is no account") {
				t.Errorf("an account was added with a refused password: exit code %d, want 1 and \"there is no account\", got %s", code, errs)
			}
		})
	}
}

func TestWeakPasswordOnTheCommandLineIsSetWithAWarning(t *testing.T) {
	const weak = "That password is weak: much of it is on lists of common passwords; add another word or two.\n"
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			for _, test := range []struct{ command, in, out, errs string }{
				{"add", "password monkey 4\n", "Account ada was added.\n", weak},
				{"set-password", "monkey password 4\n", "The password of ada was set, and the account's sessions have ended.\n", weak},
				{"set-password", "seven lamps by the door\n", "The password of ada was set, and the account's sessions have ended.\n", ""},
			} {
				code, out, errs := call(environ, test.in, "account", test.command, "ada", "--password-stdin")
				if code != 0 || out != test.out || errs != test.errs {
					t.Errorf("%s with %q: %d, %q, %q; want %q, %q", test.command, test.in, code, out, errs, test.out, test.errs)
				}
			}
		})
	}
}
