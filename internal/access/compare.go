package access

import (
	"slices"
	"time"
)

// covers reports whether the demand a is at least as strict as the demand b: every bearer that
// meets the first also meets the second, at any time. It can happen that neither of two demands
// covers the other, for instance if they name different groups. A rule whose demand covers the
// panel's can be applied to too many paths without risk: at worst a user has to give one more
// proof. Any other rule could open a path.
func covers(a, b Demand) bool {
	switch {
	case b.Requirement == Public || !isMeetable(a):
		return true // [Check] ignores the other fields then
	case a.Requirement == Public || !isMeetable(b):
		return false
	case b.Requirement == TwoFactor && a.Requirement != TwoFactor:
		return false // fresh proofs may be those of a password alone
	case len(b.Groups) > 0 && (len(a.Groups) == 0 || !isSubset(a.Groups, b.Groups)):
		return false
	}
	most := maxAge(b)
	return most == 0 || maxAge(a) > 0 && maxAge(a) <= most
}

// areEquivalent reports whether the same bearers meet both demands.
func areEquivalent(a, b Demand) bool { return covers(a, b) && covers(b, a) }

// stricter returns the demand that covers the other one. ok is false if neither covers the other.
func stricter(a, b Demand) (d Demand, ok bool) {
	switch {
	case covers(a, b):
		return a, true
	case covers(b, a):
		return b, true
	}
	return Demand{}, false
}

// isMeetable reports whether any bearer can meet d.
func isMeetable(d Demand) bool { return d.Requirement >= Public && d.Requirement <= Fresh }

// maxAge returns the maximum age of proofs that d accepts; 0: no limit within the session.
func maxAge(d Demand) time.Duration {
	age := max(d.MaxAge, 0)
	if d.Requirement == Fresh && (age == 0 || age > FreshFor) {
		return FreshFor
	}
	return age
}

func isSubset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(g string) bool { return !slices.Contains(b, g) })
}
