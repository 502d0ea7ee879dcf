// Package storage tests failing disks, killed processes, migrations, damaged files, and how
// much the database grows.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package storage
