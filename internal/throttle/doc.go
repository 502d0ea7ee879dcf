// Package throttle owns the ledger, which is the durable record of tries that limits guessing,
// the table ledger, and the queue in front of the password hash. It knows accounts by id only,
// and its only decision is whether a try is allowed now.
//
// A six-digit code with three acceptable steps is guessed with p = 3·10⁻⁶ a try, so unknown
// browsers get 25 tries a year (SP 800-63B, "Rate Limiting (Throttling)"). A code of seven or
// eight digits is guessed less often, but costs at least one unit too. A limit could lock the owner
// out. So only a client that has the password can use up the limits on codes, unknown browsers
// can't use up those of known ones, and past a limit a harder way to sign in remains, such as two
// codes in a row. A success gives no tries back; windows only slide.
//
// A mailed link lets a browser try passwords past that limit. All such browsers of an account count
// in one more row with the same limits. Their codes count as those of unknown browsers, so that
// links bring a guesser at most 100 passwords a day and no code (R33).
//
// A try is reserved, committed, and only then verified. The reservation is given back if the
// credential was right. In every other case, including a crash, it stays and counts as a wrong
// try. A row has a version, and a write succeeds only if the version is unchanged, so that
// concurrent requests on any number of nodes can't exceed a limit together.
//
// decide.go has the rules and the pure decision; ledger.go reads and writes rows; row.go
// encodes them; suspect.go says when wrong codes show that a password is stolen; instance.go
// counts wrong codes of all accounts; prefix.go finds the network of an address; queue.go
// shares out hashing slots among accounts, browsers and networks.
package throttle
