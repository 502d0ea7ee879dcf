// Package login is the state machine of signing in, and of every change of
// how one signs in. It owns the table attempts.
//
//	name and password ──► StagePassword
//	                          │ right: an attempt row, with its first proof
//	                          ▼
//	                        Next ◄───────────────────────────┐
//	                          │                              │
//	          ┌───────────────┼──────────────┐               │
//	          ▼               ▼              ▼               │
//	      StageCode    StageNewPassword   StageDone          │
//	      code, pair   a suspect          finish: attempt    │
//	      or backup    password is        gone, session open │
//	      code         changed                               │
//	          │ right: one more proof        │               │
//	          └───────────────┴── new token ─┴───────────────┘
//
// At StageLink, which isn't drawn, a suspect password is all that was proven: the
// attempt ends there, and an operator's link sets a new password.
//
// An attempt is not a session: another row, token and cookie, and no door
// takes one for the other (R12). Next alone decides what comes next; finish
// alone opens a session (R13). Reauthentication is an attempt with another
// purpose that is walked in one request and renews the session it began in.
//
// Whatever is guessed goes the same way (R1 to R3): look at the ledger, take a
// place in the hashing queue where a hash is due, reserve the try, verify,
// and give the reservation back if it was right. A try that stays reserved
// counts as failed.
package login
