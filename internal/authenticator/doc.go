// Package authenticator owns what all authenticators have in common: their kinds, the proofs
// that they give, and the table authenticators.
//
// The table has one row for each authenticator that an account enrolled besides its password. A
// row begins as a pending enrolment, which belongs to one session and expires after PendingLife.
// Only that session can read its secret (R28). Confirm makes it an authenticator of the account.
// The packages password, totp and backupcode below this one store and verify the kinds.
//
// A proof is one successful verification: the kind, the authenticator and the time. Attempts and
// sessions store their proofs as text, and AAL computes the assurance level from them. Only
// proofs are evidence of a sign-in.
//
// A newer version may have stored a kind that this version doesn't know. Reading one is an
// error and callers deny (F3): if the kind were skipped, an account with a second factor
// would look like an account without one (F4).
package authenticator
