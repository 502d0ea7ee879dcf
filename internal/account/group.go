package account

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/db"
)

// maxGroupRunes keeps the header Remote-Groups short and rules readable.
const maxGroupRunes = 64

// Errors of [AddGroup].
var (
	ErrGroupInvalid = errors.New("group name is not usable: use 1 to 64 letters, digits, \"-\", \"_\" or \".\"")
	ErrGroupTaken   = errors.New("group exists already")
)

// Group is a named set of accounts that rules refer to.
type Group struct {
	Name    string
	Members int
}

// checkGroup rejects names that would break a list of groups in a header.
func checkGroup(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxGroupRunes || !utf8.ValidString(name) {
		return ErrGroupInvalid
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' && r != '.' {
			return ErrGroupInvalid
		}
	}
	return nil
}

// AddGroup creates a group, or returns [ErrGroupInvalid] or [ErrGroupTaken].
func AddGroup(ctx context.Context, tx *db.Tx, name string, now time.Time) error {
	if err := checkGroup(name); err != nil {
		return err
	}
	_, err := db.Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ($1, $2)`, name, db.At{Time: now})
	if errors.Is(err, db.ErrConflict) {
		return ErrGroupTaken
	}
	return err
}

// RemoveGroup removes a group, or returns [db.ErrNotFound].
func RemoveGroup(ctx context.Context, tx *db.Tx, name string) error {
	return changeOne(ctx, tx, "", `DELETE FROM groups WHERE name = $1`, name)
}

// ListGroups returns all groups ordered by name, with their numbers of members.
func ListGroups(ctx context.Context, q db.Querier) ([]Group, error) {
	all, err := db.All(ctx, q, `SELECT g.name, COUNT(m.account_id) FROM groups g LEFT JOIN members m ON m.group_name = g.name GROUP BY g.name ORDER BY g.name`,
		nil, func(scan db.Scan) (g Group, err error) {
			return g, scan(&g.Name, &g.Members)
		})
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return all, nil
}

// GroupsOf returns the names of an account's groups in order.
func GroupsOf(ctx context.Context, q db.Querier, accountID string) ([]string, error) {
	all, err := db.All(ctx, q, `SELECT group_name FROM members WHERE account_id = $1 ORDER BY group_name`,
		[]any{accountID}, func(scan db.Scan) (name string, err error) {
			return name, scan(&name)
		})
	if err != nil {
		return nil, fmt.Errorf("list groups of account: %w", err)
	}
	return all, nil
}

// CountWithoutTwoFactor returns the number of accounts that aren't disabled and have no two-factor
// authentication. It counts all of them if everybody is true, otherwise only those that are in at
// least one of the groups.
func CountWithoutTwoFactor(ctx context.Context, q db.Querier, groups []string, everybody bool) (n int, err error) {
	query, args := countQuery(groups, everybody)
	if err = db.One(ctx, q, query, args, &n); err != nil {
		err = fmt.Errorf("count accounts without two-factor authentication: %w", err)
	}
	return n, err
}

// countQuery returns the statement of [CountWithoutTwoFactor] with its arguments. For groups it
// reads their members only: they may be few among a million accounts.
func countQuery(groups []string, everybody bool) (query string, args []any) {
	query = `SELECT COUNT(*) FROM accounts WHERE two_factor_at IS NULL AND disabled_at IS NULL`
	if everybody {
		return query, nil
	}
	list, args := db.In(groups, 1)
	return query + ` AND id IN (SELECT account_id FROM members WHERE group_name IN ` + list + `)`, args
}

// Join adds the account to a group and reports whether that changed anything. It returns
// [db.ErrNotFound] if the group doesn't exist.
func Join(ctx context.Context, tx *db.Tx, group, accountID string) (bool, error) {
	// The lock keeps the group from being removed before tx ends.
	var name string
	if err := db.One(ctx, tx, `SELECT name FROM groups WHERE name = $1 FOR NO KEY UPDATE`, []any{group}, &name); err != nil {
		return false, err
	}
	tx.Changed(accountID)
	n, err := db.Exec(ctx, tx, `INSERT INTO members (group_name, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, group, accountID)
	return n == 1, err
}

// Leave removes the account from a group and reports whether it was a member.
func Leave(ctx context.Context, tx *db.Tx, group, accountID string) (bool, error) {
	tx.Changed(accountID)
	n, err := db.Exec(ctx, tx, `DELETE FROM members WHERE group_name = $1 AND account_id = $2`, group, accountID)
	return n == 1, err
}

// GroupsOfEach returns a map from account ids to the sorted names of the accounts' groups.
func GroupsOfEach(ctx context.Context, q db.Querier, accountIDs []string) (map[string][]string, error) {
	type membership struct{ account, group string }
	list, args := db.In(accountIDs, 1)
	all, err := db.All(ctx, q, `SELECT account_id, group_name FROM members WHERE account_id IN `+list+` ORDER BY group_name`,
		args, func(scan db.Scan) (m membership, err error) {
			return m, scan(&m.account, &m.group)
		})
	if err != nil {
		return nil, fmt.Errorf("list groups of accounts: %w", err)
	}
	groups := map[string][]string{}
	for _, m := range all {
		groups[m.account] = append(groups[m.account], m.group)
	}
	return groups, nil
}
