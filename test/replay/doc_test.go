// Package replay tests that a code, a backup code and a time step open one session each, on
// one node and on several, also if clocks or keys are wrong.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package replay
