// Package clock decides which time to believe. It owns the high-water mark, table clock. Its
// decisions are pure: the caller passes the time.
//
//   - [Mark] (clock.go) keeps the latest time that was believed, in the database, for all nodes. A
//     server whose clock was set back behind the mark accepts no codes, since used codes would
//     become right again (F7). A leap is a forward jump of the clock. To believe it means to move
//     the mark to it. That happens only after an hour in which the clock has run evenly.
//   - [Watch] (watch.go) compares the clock of this process with the phones of users, with the
//     database's clock, and with the machine's monotonic clock (running_linux.go,
//     running_other.go), and reports when it is wrong.
//
// Budgets, ends and deletions use the reference clock, which is the database's on PostgreSQL, so
// that a node whose own clock is wrong doesn't affect the others. [State.Believed] and
// [Mark.Trusted] say whether a time may be used for them.
package clock
