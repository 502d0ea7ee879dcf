// Package recovery tests from outside what a mailed link permits, and to whom.
package recovery
