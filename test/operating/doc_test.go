// Package operating tests what operators rely on: health, logs, metrics, the audit log,
// reload, and that no secret leaves by them.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package operating
