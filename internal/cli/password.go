package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/server"
)

// passwordInput is the flag of commands that read a password from standard input. As an
// argument it would show in process lists and in the shell's history.
type passwordInput struct {
	PasswordStdin bool `help:"Read the password from standard input, as one line."`
}

// maxPasswordInput is how many bytes of a password are read. It is more than the longest allowed
// password has, so [password.Check] refuses an input that was cut off here as too long.
const maxPasswordInput = 16 << 10

// read returns the whole input without one newline at its end. A second line is an error: if read
// ignored it, the stored password would differ from the typed one.
func (p passwordInput) read(r *run) (string, error) {
	if !p.PasswordStdin {
		return "", errors.New("add --password-stdin and give the password on standard input, or let the account's owner choose one: sallyport account invite NAME")
	}
	input, err := io.ReadAll(io.LimitReader(r.streams.In, maxPasswordInput))
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	typed := strings.TrimSuffix(strings.TrimSuffix(string(input), "\n"), "\r")
	if strings.Contains(typed, "\n") {
		return "", errors.New("standard input has more than one line, and a password is one line")
	}
	return typed, nil
}

// explainPassword adds to err, the error of a refused password, what a password must be. It uses
// the words of the portal's pages.
func explainPassword(portal *server.Portal, err error) error {
	var common *password.CommonError
	switch {
	case errors.Is(err, password.ErrShort):
		return fmt.Errorf("%w: it needs at least %d characters (password.min_length)", err, portal.Config.Password.MinLength)
	case errors.Is(err, password.ErrLong):
		return fmt.Errorf("%w: it may have %d characters at most", err, password.MaxRunes)
	case errors.Is(err, password.ErrInvalid):
		return fmt.Errorf("%w: use letters, digits, spaces and punctuation", err)
	case errors.As(err, &common):
		return fmt.Errorf("%w: %s", err, passwordAdvice(common.Reason))
	}
	return err
}

// warnIfWeak prints a warning if a password that was just set is weak, or has a space at an end,
// which was probably added by mistake.
func warnIfWeak(r *run, portal *server.Portal, owner account.Account, typed string) {
	if strings.Trim(typed, " ") != typed {
		fmt.Fprintln(r.streams.Err, "That password begins or ends with a space, which is a part of it.")
	}
	if got := password.Strength(typed, portal.Login.GuessableWords(owner)...); got.Level == password.Weak {
		fmt.Fprintf(r.streams.Err, "That password is weak: %s.\n", passwordAdvice(got.Reason))
	}
}

// passwordAdvice returns why a password is easy to guess, and what to do.
func passwordAdvice(reason password.Reason) string {
	switch reason {
	case password.Common:
		return "much of it is on lists of common passwords; add another word or two"
	case password.Own:
		return "attackers try the account's name and the site's name first; add other words"
	case password.Run:
		return "sequences like 12345 or qwerty are easy to guess; add a word or two"
	case password.Repeat:
		return "repeating it adds little; add other words"
	default:
		return "another word or two would make it stronger"
	}
}
