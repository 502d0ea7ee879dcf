// Package proxies tests the real proxies that operators run, with the files of
// deploy/proxy as they stand.
//
// A test whose name has a number, as in TestAttack142, is that attack in docs/attacks.md.
package proxies
