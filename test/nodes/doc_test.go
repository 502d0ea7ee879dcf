// Package nodes tests several nodes on one PostgreSQL, behind a real HAProxy or a pooler.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package nodes
