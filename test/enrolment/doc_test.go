// Package enrolment tests the wizard for two-factor authentication, the removal of
// authenticators, recovery, and changes that another account or site attempts.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package enrolment
