package account

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/db"
)

// Filter selects the accounts of a list.
type Filter string

// The filters.
const (
	Every            Filter = ""
	WithOneFactor    Filter = "one_factor" // two-factor authentication is off
	WhichAreDisabled Filter = "disabled"
	WithRole         Filter = "role" // other than member
)

// conditions are the SQL conditions of the filters, written exactly as in the indexes.
var conditions = map[Filter]string{
	Every:            ``,
	WithOneFactor:    ` AND two_factor_at IS NULL`,
	WhichAreDisabled: ` AND disabled_at IS NOT NULL`,
	WithRole:         ` AND role <> 'member'`,
}

// IsKnown reports whether f is one of the filters.
func (f Filter) IsKnown() bool {
	_, ok := conditions[f]
	return ok
}

// Search is what a list shows.
type Search struct {
	Filter Filter
	Prefix string // the beginning of a name or an address, as typed; empty: any
	After  string // the last key of the page before; empty: the first page
}

// Found is an account in a list. Its key is the text by which it was found.
type Found struct {
	Account
	Key string // the account's name, or its folded address
}

// lastRune sorts after every character that a name or an address may have.
const lastRune = "\U0010FFFF"

// Find returns one page of a list, sorted by the bytes of the keys. An account's keys are its
// name and its address. Without a prefix, the list has the names; with a prefix, it has every
// name and address that begins with the prefix, so an account can be on the list twice.
//
// A page covers n keys, and next is the Search.After of the next page, or "" on the last page. If
// both keys of an account are on one page, Find returns the account once, and the page is shorter
// than n. If they are on two pages, Find returns the account on both. Each page is read from two
// ranges of indexes, one of names and one of addresses, so its cost doesn't depend on the length
// of the list. Unlike the functions that return one account, Find also returns accounts with an
// unknown role.
func Find(ctx context.Context, q db.Querier, s Search, n int) (found []Found, next string, err error) {
	if !s.Filter.IsKnown() {
		return nil, "", fmt.Errorf("there is no filter %q", string(s.Filter))
	}
	prefix, ok := normalPrefix(s.Prefix)
	if !ok || !isText(s.After) {
		return nil, "", nil // no name or address is like that
	}
	var all []Found
	for _, column := range columnsOf(prefix) {
		query, args := findQuery(s, column, prefix, n+1) // one more shows whether this is the last page
		some, err := db.All(ctx, q, query, args, scanFound)
		if err != nil {
			return nil, "", fmt.Errorf("find accounts: %w", err)
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b Found) int { return cmp.Compare(a.Key, b.Key) })
	if len(all) > n {
		all, next = all[:n], all[n-1].Key
	}
	shown := map[string]bool{}
	for _, f := range all {
		if f.Key == f.Name {
			shown[f.ID] = true
		}
	}
	return slices.DeleteFunc(all, func(f Found) bool { return f.Key != f.Name && shown[f.ID] }), next, nil
}

// isText reports whether both engines can compare text with what they store.
func isText(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// columnsOf returns the columns by which accounts are found. Without a prefix that is the name,
// which every account has.
func columnsOf(prefix string) []string {
	if prefix == "" {
		return []string{"name"}
	}
	return []string{"name", "email_folded"}
}

// findQuery returns the statement that finds up to n accounts by a column, with its arguments.
func findQuery(s Search, column, prefix string, n int) (query string, args []any) {
	return `
		SELECT ` + columns + `, ` + column + `
		FROM   accounts
		WHERE  ` + column + ` COLLATE "C" >= $1 AND ` + column + ` COLLATE "C" > $2 AND ` + column + ` COLLATE "C" < $3` + conditions[s.Filter] + `
		ORDER  BY ` + column + ` COLLATE "C"
		LIMIT  $4`, []any{prefix, s.After, prefix + lastRune, n}
}

func scanFound(scan db.Scan) (f Found, err error) {
	f.Account, err = scanAccount(func(to ...any) error { return scan(append(to, &f.Key)...) })
	return f, err
}

// normalPrefix returns the form of the beginning of a name or an address in which keys are
// stored; ok is false if no key can begin with it.
func normalPrefix(typed string) (prefix string, ok bool) {
	typed = strings.TrimSpace(typed)
	if len(typed) > maxEmailBytes || !isText(typed) {
		return "", false
	}
	if typed == "" {
		return "", true
	}
	if name, err := NormalizeName(typed); err == nil {
		return name, true
	}
	return strings.ToLower(norm.NFC.String(typed)), true
}

// Among returns the accounts with these ids, in the order of the ids, without those that don't
// exist. Unlike the functions that return one account, it also returns accounts with an unknown
// role.
func Among(ctx context.Context, q db.Querier, ids []string) ([]Account, error) {
	list, args := db.In(ids, 1)
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM accounts WHERE id IN `+list, args, scanAccount)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	slices.SortFunc(all, func(a, b Account) int { return cmp.Compare(slices.Index(ids, a.ID), slices.Index(ids, b.ID)) })
	return all, nil
}
