// Package upgrade tests that a running portal moves from the previous release's program to this
// tree's, and back, while people and scripts use it.
package upgrade
