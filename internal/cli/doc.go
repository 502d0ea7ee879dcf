// Package cli is the command line of Sallyport: one file for each command or group of
// commands. It may import any other package; no other package imports it.
//
// [Main] parses the arguments with kong, whose tags on the type commands hold the help
// texts and examples. Help, manual pages and shell completion are generated from the same
// tags (help.go, man.go, completion.go).
//
// find.go decides which configuration file is in force. Only serve, demo, init and restore may
// create a portal; every other command works on the one that the configuration names, and fails
// if it doesn't exist. Commands change the database directly. They need no running server, and
// a running server sees a change with its next statement. A command that adds, changes or removes
// something writes an audit event with the actor "command line".
//
// Standard output is for results, which scripts may read: lists are tables, or one JSON
// object a line with --json (list.go). Everything else goes to standard error. Secrets are
// printed only by the commands whose purpose that is, and passwords are read from standard
// input, never from arguments.
//
// The exit code is 0 after success, 1 if the command failed, and 2 if the command line or the
// configuration has a fault, so that the command did nothing, or if the database needs a newer
// version. Service managers don't restart a server after 2.
package cli
