// Package password owns the password of each account and the table passwords.
//
// A password is stored as an Argon2id hash (RFC 9106) in a PHC string that is sealed under the
// key ring, so that a copy of the database alone doesn't allow guessing. Verify does the same
// work whether or not the account exists (R27), and reports when a hash has a lower cost than
// configured. Hash and Verify use a core and about 19 MiB for tens of milliseconds, so callers
// hold a slot of throttle.Queue.
//
// Check decides which new passwords are allowed: a minimum length, and none that a guesser
// tries within the first million. It has no rules of composition (SP 800-63B, "Password
// Verifiers"). Strength rates an allowed one for the page. Both divide the password into parts
// such as common passwords, words of the site and account, rows of the keyboard and
// repetitions, and add up the costs of the parts. page/static/strength.js does the same without
// the list of common passwords.
//
// A password that wrong codes after a right password show to be known to somebody else is
// marked as suspect. A sign-in must then change it.
package password
