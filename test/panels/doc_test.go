// Package panels tests panels behind the gateway and behind each dialect: which requests are
// admitted, what a panel receives, and machine passes.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package panels
