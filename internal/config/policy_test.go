package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyIsReadWhole(t *testing.T) {
	c, err := loadText(`policy:
  - groups: ["*"]
    two_factor: off
  - {groups: [staff], two_factor: observe}
  - {groups: [office, größe-2], two_factor: nudge, enroll: anyone}
  - groups: [ops]
    two_factor: required
    from: 2027-02-01
    methods: [totp]
    enroll: ticket
  - {groups: [root], two_factor: "required", from: "2028-02-29"}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Policy{
		{Groups: []string{"*"}, TwoFactor: AskedOff},
		{Groups: []string{"staff"}, TwoFactor: AskedObserve},
		{Groups: []string{"office", "größe-2"}, TwoFactor: AskedNudge, Enroll: EnrollAnyone},
		{Groups: []string{"ops"}, TwoFactor: AskedRequired, From: Date{2027, 2, 1}, Methods: []Method{MethodTOTP}, Enroll: EnrollTicket},
		{Groups: []string{"root"}, TwoFactor: AskedRequired, From: Date{2028, 2, 29}},
	}
	if diff := cmp.Diff(want, c.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

func TestFaultsOfPolicy(t *testing.T) {
	const item = "policy:\n  - "
	for _, test := range []struct{ name, text, want string }{
		{"no list", "policy: required\n", "sallyport.yaml:1: policy: is text; write a list of groups of keys"},
		{"no groups", item + "two_factor: nudge\n", `sallyport.yaml:2: policy[0]: names no group; write groups: ["*"] for everybody, or groups: [ops]`},
		{"empty groups", item + "{groups: [], two_factor: nudge}\n", "sallyport.yaml:2: policy[0].groups: names no group"},
		{"one group as text", item + "{groups: ops, two_factor: nudge}\n", "sallyport.yaml:2: policy[0].groups: is text; write a list"},
		{"no group's name", item + "{groups: ['a b'], two_factor: nudge}\n", `sallyport.yaml:2: policy[0].groups: "a b" isn't a group name`},
		{"everybody and others", item + "{groups: [ops, '*'], two_factor: nudge}\n", `sallyport.yaml:2: policy[0].groups: "*" is everybody, so other groups beside it have no effect; delete them`},
		{"a group twice", item + "{groups: [ops, ops], two_factor: nudge}\n", `sallyport.yaml:2: policy[0].groups: "ops" is listed twice; delete one`},
		{"a group in two items", item + "{groups: [ops], two_factor: nudge}\n  - {groups: [ops], two_factor: required}\n", `sallyport.yaml:3: policy[1].groups: "ops" is in policy[0] too; keep one of them`},
		{"no two_factor", item + "groups: [ops]\n", "sallyport.yaml:2: policy[0]: two_factor must be set: off, observe, nudge or required"},
		{"unknown two_factor", item + "{groups: [ops], two_factor: must}\n", `sallyport.yaml:2: policy[0].two_factor: "must" isn't one of off, observe, nudge, required`},
		{"a day of a month without it", item + "{groups: [ops], two_factor: required, from: 2027-02-29}\n", `sallyport.yaml:2: policy[0].from: "2027-02-29" isn't a date; write it like 2027-02-01`},
		{"a time", item + "{groups: [ops], two_factor: required, from: 2027-02-01T00:00:00Z}\n", `sallyport.yaml:2: policy[0].from: "2027-02-01T00:00:00Z" isn't a date`},
		{"a date that has no effect", item + "{groups: [ops], two_factor: nudge, from: 2027-02-01}\n", "sallyport.yaml:2: policy[0].from: has no effect without two_factor: required"},
		{"passkeys", item + "{groups: [ops], two_factor: required, methods: [passkey, totp]}\n", "sallyport.yaml:2: policy[0].methods: passkey isn't supported by this version; write totp, or delete the line"},
		{"an unknown method", item + "{groups: [ops], two_factor: required, methods: [sms]}\n", `sallyport.yaml:2: policy[0].methods: "sms" isn't one of totp`},
		{"no methods", item + "{groups: [ops], two_factor: required, methods: []}\n", "sallyport.yaml:2: policy[0].methods: names no method"},
		{"less than for all", "two_factor: {enroll: ticket}\n" + item + "{groups: [ops], two_factor: required, enroll: anyone}\n", "sallyport.yaml:3: policy[0].enroll: is anyone, but two_factor.enroll is ticket for all accounts"},
		{"an unknown key", item + "{groups: [ops], two_factor: required, until: 2027-02-01}\n", "sallyport.yaml:2: policy[0].until: unknown key"},
		{"too many", "policy:\n" + manyPolicies(101), "sallyport.yaml:1: policy: has 101 items; at most 100 are allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := loadText(test.text)
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("loads as %+v, %v; want one fault", c.Policy, err)
			}
			if got := err.Error(); !strings.HasPrefix(got, test.want) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func manyPolicies(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {groups: [g%d], two_factor: nudge}\n", i)
	}
	return b.String()
}
