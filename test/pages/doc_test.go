// Package pages tests what every page has: headers, escaped text, links and redirects to
// configured origins only.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package pages
