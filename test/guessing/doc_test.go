// Package guessing tests the limits on guessing: how many passwords and codes are compared
// for known and unknown browsers, over years and all at once, and what owners see of it.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package guessing
