// Package policy decides whether an account must have two-factor authentication, and from what date
// on. The key policy of the configuration is a list of items. An [Item] is for the accounts in some
// groups, and a [Policy] is the result of all items for one account. A [Book] holds the items in
// force, which a reload of the configuration replaces. The package is pure: it reads no clock, no
// network and no database, and owns no table.
//
// Package access refuses the requests of an account that doesn't meet its policy. A policy can only
// add to what a panel demands.
package policy

import (
	"sync/atomic"
	"time"
)

// Level says how strongly an account is asked to have two-factor authentication.
type Level int

// The levels, from the least strict to the strictest.
const (
	Off      Level = iota // not at all
	Observe               // the accounts without it are counted
	Nudge                 // a page after the sign-in recommends it
	Required              // it is required from a date on
)

// Levels are all levels that ask for something.
func Levels() []Level { return []Level{Observe, Nudge, Required} }

// String returns the level's name in the configuration.
func (l Level) String() string {
	return [...]string{Off: "off", Observe: "observe", Nudge: "nudge", Required: "required"}[l]
}

// Everybody stands in a list of groups for all accounts.
const Everybody = "*"

const (
	// nudgePause is how long the page that recommends two-factor authentication stays away after
	// the owner chose "Later": after a longer pause the owner would have forgotten the page, and a
	// shorter one would annoy.
	nudgePause = 7 * 24 * time.Hour

	// datePause is how long the page that announces the date stays away after the owner chose
	// "Later". It is shorter, since the date comes closer.
	datePause = 24 * time.Hour
)

// Item is what the configuration asks of the accounts in some groups.
type Item struct {
	Groups []string // names of groups, or [Everybody]
	Policy Policy
}

// Policy is what the configuration asks of an account. The zero value asks nothing.
type Policy struct {
	TwoFactor Level
	From      time.Time // when [Required] begins to apply; the zero time: it applies already
	ByTicket  bool      // the first authenticator needs an operator's link
}

// Requires reports whether the account must have two-factor authentication at the time now.
func (p Policy) Requires(now time.Time) bool {
	return p.TwoFactor == Required && !now.Before(p.From)
}

// Reminds reports whether a page after the sign-in asks the owner of an account without two-factor
// authentication to enable it. The parameter postponed is when the owner last chose "Later", or the
// zero time. Once Requires returns true, no such page is needed.
func (p Policy) Reminds(postponed, now time.Time) bool {
	pause := nudgePause
	switch {
	case p.TwoFactor == Required && now.Before(p.From):
		pause = datePause
	case p.TwoFactor != Nudge:
		return false
	}
	age := now.Sub(postponed)
	return age < 0 || age >= pause // a time in the future comes from a wrong clock
}

// stricter returns the least strict policy that is as strict as both p and other.
func (p Policy) stricter(other Policy) Policy {
	if other.TwoFactor > p.TwoFactor {
		p.TwoFactor, p.From = other.TwoFactor, other.From
	} else if other.TwoFactor == p.TwoFactor && other.From.Before(p.From) {
		p.From = other.From
	}
	p.ByTicket = p.ByTicket || other.ByTicket
	return p
}

// Book holds the items in force. Its zero value has none. It is safe for concurrent use.
type Book struct {
	byGroup atomic.Pointer[map[string]Policy]
}

// Set puts items in force in place of the earlier ones.
func (b *Book) Set(items []Item) {
	byGroup := map[string]Policy{}
	for _, item := range items {
		for _, group := range item.Groups {
			byGroup[group] = byGroup[group].stricter(item.Policy)
		}
	}
	b.byGroup.Store(&byGroup)
}

// IsEmpty reports whether no item is in force.
func (b *Book) IsEmpty() bool {
	byGroup := b.byGroup.Load()
	return byGroup == nil || len(*byGroup) == 0
}

// Of returns the policy of an account in these groups, which combines all items for it.
func (b *Book) Of(groups []string) Policy {
	if b.IsEmpty() {
		return Policy{}
	}
	byGroup := *b.byGroup.Load()
	p := byGroup[Everybody]
	for _, group := range groups {
		p = p.stricter(byGroup[group])
	}
	return p
}

// Groups returns the groups that have the level least or a stricter one, in any order. If everybody
// is true, every account has such a level.
func (b *Book) Groups(least Level) (groups []string, everybody bool) {
	if b.IsEmpty() {
		return nil, false
	}
	for group, p := range *b.byGroup.Load() {
		switch {
		case p.TwoFactor < least:
		case group == Everybody:
			everybody = true
		default:
			groups = append(groups, group)
		}
	}
	return groups, everybody
}
