// Package nodes tests several nodes on one PostgreSQL database, behind a real HAProxy or a
// real PgBouncer.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package nodes
