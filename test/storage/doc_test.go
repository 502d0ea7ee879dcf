// Package storage tests failing disks, killed processes, migrations, damaged files, and how
// much the database grows.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package storage
