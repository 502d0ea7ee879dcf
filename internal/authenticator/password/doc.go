// Package password owns the password of each account and the table passwords.
//
// A password is stored as an Argon2id hash (RFC 9106) in a PHC string that is sealed under the
// key ring, so that a copy of the database alone doesn't allow guessing. Verify does the same
// work whether or not the account exists (R27), and reports when a hash has a lower cost than
// configured. Hash and Verify use a core and about 19 MiB for tens of milliseconds, so callers
// hold a slot of throttle.Queue.
//
// Check decides which new passwords are allowed: those of a minimum length that aren't among the
// first million guesses of an attacker. It has no rules of composition (SP 800-63B, "Password
// Verifiers"). Strength rates an allowed one for the page. Both divide the password into parts
// such as common passwords, words of the site and account, rows of the keyboard and repetitions,
// and add up the costs of the parts. page/static/strength.js does the same without the list of
// common passwords.
//
// Several wrong codes after a right password show that another person knows the password. It is
// then marked as suspect, and the next sign-in must change it.
package password
