// Package pages tests what every page has: headers, escaped text, links and redirects to
// configured origins only.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package pages
