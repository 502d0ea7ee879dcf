// Package replay tests that a code, a backup code and a time step open one session each, on
// one node and on several, also if clocks or keys are wrong.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package replay
