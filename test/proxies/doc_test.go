// Package proxies tests the real proxies that operators run, with the files of
// deploy/proxy as they stand.
//
// A number in the name of a test, as in TestAttack142, is that of an attack in docs/attacks.md.
package proxies
