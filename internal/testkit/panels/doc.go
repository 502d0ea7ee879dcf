// Package panels provides panels for tests to put behind a portal, the configuration that
// declares them, and the requests of users and programs to a panel.
package panels
