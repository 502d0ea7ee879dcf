package access

import (
	"slices"
	"time"
)

// covers reports whether whoever meets a meets b too, at any time: a asks for
// the same or more. Of two demands neither need cover the other: another group
// is neither more nor less. A rule that covers its panel's demand can only cost
// somebody a proof when it is read too widely; any other could let somebody in.
func covers(a, b Demand) bool {
	switch {
	case b.Requirement == Public || !meetable(a):
		return true // whatever else is written: [Check] looks no further
	case a.Requirement == Public || !meetable(b):
		return false
	case b.Requirement == TwoFactor && a.Requirement != TwoFactor:
		return false // fresh proofs may be a password alone
	case len(b.Groups) > 0 && (len(a.Groups) == 0 || !subset(a.Groups, b.Groups)):
		return false
	}
	most := maxAge(b)
	return most == 0 || maxAge(a) > 0 && maxAge(a) <= most
}

// same reports whether the same bearers meet a and b.
func same(a, b Demand) bool { return covers(a, b) && covers(b, a) }

// stricter returns the one that covers the other; ok is false where neither
// does.
func stricter(a, b Demand) (d Demand, ok bool) {
	switch {
	case covers(a, b):
		return a, true
	case covers(b, a):
		return b, true
	}
	return Demand{}, false
}

// meetable reports whether anybody meets d.
func meetable(d Demand) bool { return d.Requirement >= Public && d.Requirement <= Fresh }

// maxAge is how old the proofs may be that meet d; 0: as old as the session.
func maxAge(d Demand) time.Duration {
	age := max(d.MaxAge, 0)
	if d.Requirement == Fresh && (age == 0 || age > FreshFor) {
		return FreshFor
	}
	return age
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(g string) bool { return !slices.Contains(b, g) })
}
