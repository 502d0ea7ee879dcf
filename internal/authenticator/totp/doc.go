// Package totp owns time-based one-time passwords (TOTP, RFC 6238) and the table totp.
//
// It has these parts:
//
//   - Verification (code.go) is pure. [State.Verify] compares a code with those of the steps
//     around now, and [State.VerifyPair] compares two consecutive codes with more steps. The
//     [Check] that they return says which step matched, or why none did.
//   - Single use (totp.go): [Claim] stores the step of an accepted code in one conditional
//     statement, so that only one of concurrent requests on all nodes succeeds (R7). A step that is
//     used while the clock may be ahead is stored apart, since [BringBack] may have to lower it.
//   - The secret (totp.go) is sealed under the key ring, for its row and its owner.
//   - [Parameters] (parameters.go) are the algorithm, the number of digits and the period. The
//     wizard uses [Standard]; rows from other servers may have others. [Units] is the price of a
//     guess in the ledger.
//   - The key URI and its QR code (keyuri.go) carry the secret to the authenticator app.
package totp
