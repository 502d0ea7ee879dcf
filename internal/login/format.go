package login

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
)

// CodeFormat is the format of the codes of an account's authenticators. It is shown only after a
// right password.
type CodeFormat struct {
	Digits []int         // the lengths of codes, ascending, each once
	Period time.Duration // the longest time until an app shows a new code
}

// StandardFormat returns the format of the codes of new authenticators.
func StandardFormat() CodeFormat { return formatOf([]totp.Parameters{totp.Standard()}) }

// formatOf returns the common format of several authenticators. It leaves out those whose
// parameters aren't supported. While an account has such an authenticator, none of the account's
// codes are compared: loadTOTP fails.
func formatOf(all []totp.Parameters) CodeFormat {
	f := CodeFormat{Period: totp.Period}
	for _, p := range all {
		if p == (totp.Parameters{}) {
			continue
		}
		f.Digits, f.Period = append(f.Digits, p.Digits), max(f.Period, p.Period)
	}
	slices.Sort(f.Digits)
	f.Digits = slices.Compact(f.Digits)
	return f
}

// accepts reports whether the normalized codes can be compared, that is, whether one of the
// authenticators has codes of their length. second is empty for a single code.
func (f CodeFormat) accepts(first, second string) bool {
	return slices.Contains(f.Digits, len(first)) && (second == "" || len(second) == len(first))
}

// unitsOf returns what a single code of this length costs.
func unitsOf(all []totp.Parameters, digits int) int {
	n := 0
	for _, p := range all {
		if p.Digits == digits {
			n++
		}
	}
	return totp.Units(n, digits)
}

// readParameters returns the parameters of TOTP authenticators, in the order of authenticators. It
// leaves out the authenticators that were removed since they were listed.
func readParameters(ctx context.Context, q db.Querier, authenticators []authenticator.Authenticator) ([]totp.Parameters, error) {
	var all []totp.Parameters
	for _, one := range authenticators {
		p, err := totp.ReadParameters(ctx, q, one.ID)
		if errors.Is(err, db.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// malformed returns the error for text that can't be a code of the account: a [*CodeError], or
// [ErrNoTOTP]. The text was not compared and cost no try.
func malformed(ctx context.Context, q db.Querier, accountID string, pair bool) error {
	authenticators, err := authenticator.List(ctx, q, accountID)
	if err != nil {
		return err
	}
	all, err := readParameters(ctx, q, authenticator.OfKind(authenticators, authenticator.TOTP))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return ErrNoTOTP
	}
	return &CodeError{Malformed: true, Pair: pair, Format: formatOf(all)}
}
