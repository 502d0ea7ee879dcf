// Package sessions tests the order of the steps of a sign-in, cookies, how sessions end, and
// how a browser returns to the page that it asked for.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package sessions
