// Package guessing tests the limits on guessing: how many passwords and codes are compared
// for known and unknown browsers, over years and all at once, and what owners see of it.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package guessing
