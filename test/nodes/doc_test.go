// Package nodes tests several nodes on one PostgreSQL database, behind a real HAProxy or a
// real PgBouncer.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package nodes
