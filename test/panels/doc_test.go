// Package panels tests panels behind the gateway and behind each dialect: who is
// admitted, what a panel receives, and machine passes.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package panels
