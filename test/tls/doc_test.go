// Package tls tests a portal that terminates TLS itself, with certificates from files and from
// a CA.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package tls
