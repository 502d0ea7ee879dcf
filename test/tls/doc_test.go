// Package tls tests a portal that terminates TLS itself, with certificates from files and from
// a CA.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package tls
