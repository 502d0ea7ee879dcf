// Package login is the state machine of a sign-in. It owns the table attempts. Package manage
// changes the credentials of accounts.
//
//	name and password ──► StageFirst
//	                          │ right: an attempt row, with its first proof
//	                          ▼
//	                        Next ◄───────────────────────────┐
//	                          │                              │
//	          ┌───────────────┼──────────────┐               │
//	          ▼               ▼              ▼               │
//	      StageSecond  StageNewPassword   StageDone          │
//	      code, pair   a suspect          finish: attempt    │
//	      or backup    password is        gone, session open │
//	      code         changed                               │
//	          │ right: one more proof        │               │
//	          └───────────────┴── new token ─┴───────────────┘
//
// At StageLink, which isn't drawn, the password is suspect and is the only proof. The attempt
// ends there; the user needs a link from an operator to set a new password.
//
// An attempt is not a session. It has its own table, token and cookie, and neither is ever
// accepted in place of the other (R12). Only Next decides which stage follows, and only finish
// creates a session (R13). A reauthentication is an attempt with another purpose: it passes all
// stages in one request, is never stored, and renews the session that it was started in.
//
// Every try at a password or code takes the same steps (R1 to R3): check the budget in the
// ledger, wait in the hashing queue if a hash is needed, reserve the try in the ledger and
// commit, verify, and give the reservation back if the credential was right. A try that stays
// reserved counts as wrong, so that a guesser gains no further try by a crash of the server or by
// closing the connection.
package login
