// Package enrolment tests the wizard for two-factor authentication, the removal of
// authenticators, recovery, and changes that another account or site attempts.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package enrolment
