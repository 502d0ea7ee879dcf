// Package operating tests what operators rely on: health, logs, metrics, the audit log and
// reloads, and that they don't reveal secrets.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package operating
