package config

import (
	"errors"
	"fmt"
	"time"
)

// mostPolicies is how many items the list of policies can show clearly.
const mostPolicies = 100

// everybody, in a list of groups, stands for all accounts.
const everybody = "*"

// Asked is how firmly accounts are asked for two-factor authentication. "" is not a valid value.
type Asked string

const (
	AskedOff      Asked = "off"      // not at all
	AskedObserve  Asked = "observe"  // accounts without it are counted
	AskedNudge    Asked = "nudge"    // a page after the sign-in recommends it
	AskedRequired Asked = "required" // it is required
)

// UnmarshalText accepts the texts of the constants.
func (a *Asked) UnmarshalText(text []byte) error {
	return oneOf(a, string(text), AskedOff, AskedObserve, AskedNudge, AskedRequired)
}

// Method is a kind of authenticator that satisfies a policy.
type Method string

// MethodTOTP is an app that shows codes.
const MethodTOTP Method = "totp"

// UnmarshalText accepts the text of the constant.
func (m *Method) UnmarshalText(text []byte) error {
	if string(text) == "passkey" {
		return errors.New("passkey isn't supported by this version; write totp, or delete the line")
	}
	return oneOf(m, string(text), MethodTOTP)
}

// Date is a day. Its zero value means that no day is set.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// UnmarshalText accepts a date in the form of 2027-02-01.
func (d *Date) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.DateOnly, string(text))
	if err != nil || at.Year() < 1970 {
		return fmt.Errorf("%s isn't a date; write it like 2027-02-01", quote(string(text)))
	}
	d.Year, d.Month, d.Day = at.Date()
	return nil
}

// String returns the text from which UnmarshalText reads d.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, int(d.Month), d.Day) }

// MarshalText returns d.String().
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// checkPolicy adds the faults of policy.
func checkPolicy(c Config, isSet func(key string) bool, fault func(err error, keys ...string)) {
	if len(c.Policy) > mostPolicies {
		fault(fmt.Errorf("has %d items; at most %d are allowed", len(c.Policy), mostPolicies), "policy")
		return
	}
	itemOf := map[string]int{} // by group
	for i, p := range c.Policy {
		key := fmt.Sprintf("policy[%d]", i)
		if len(p.Groups) == 0 {
			fault(errors.New(`names no group; write groups: ["*"] for everybody, or groups: [ops]`), key+".groups", key)
		}
		for j, group := range p.Groups {
			err := checkPolicyGroup(p.Groups, group)
			if other, ok := itemOf[group]; err == nil && ok {
				err = fmt.Errorf("%s is in policy[%d] too; keep one of them", quote(group), other)
				if other == i {
					err = fmt.Errorf("%s is listed twice; delete one", quote(group))
				}
			}
			itemOf[group] = i
			fault(err, fmt.Sprintf("%s.groups[%d]", key, j), key+".groups")
		}
		if p.TwoFactor == "" {
			fault(errors.New("two_factor must be set: off, observe, nudge or required"), key+".two_factor", key)
		}
		if isSet(key+".from") && p.TwoFactor != AskedRequired {
			fault(errors.New("has no effect without two_factor: required; delete the line, or write required there"), key+".from", key+".two_factor")
		}
		if isSet(key+".methods") && len(p.Methods) == 0 {
			fault(errors.New("names no method; write totp, or delete the line"), key+".methods")
		}
		if isSet(key+".enroll") && p.Enroll == EnrollAnyone && c.TwoFactor.Enroll == EnrollTicket {
			fault(errors.New("is anyone, but two_factor.enroll is ticket for all accounts, and a policy can only ask for more; delete the line"), key+".enroll", "two_factor.enroll")
		}
	}
}

// checkPolicyGroup returns an error unless group is a group's name or [everybody]. The list groups
// has all groups of the item that group is in; beside everybody it may have no other group.
func checkPolicyGroup(groups []string, group string) error {
	if group != everybody {
		return checkGroup(group)
	}
	if len(groups) > 1 {
		return errors.New(`"*" is everybody, so other groups beside it have no effect; delete them`)
	}
	return nil
}
