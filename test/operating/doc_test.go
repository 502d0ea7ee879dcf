// Package operating tests what operators rely on: health, logs, metrics, the audit log and
// reloads, and that none of them reveals a secret.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package operating
