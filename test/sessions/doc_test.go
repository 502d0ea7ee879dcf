// Package sessions tests the order of the steps of a sign-in, cookies, how sessions end, and
// how a browser returns to the page that it asked for.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package sessions
