// Package throttle owns the ledger, which is the durable record of tries that limits guessing,
// and the queue in front of the password hash. The ledger is the table of this name. Package
// throttle knows accounts only by id, and its only decision is whether a try is allowed now.
//
// A try guesses a six-digit code, of which three steps are acceptable, with probability 3·10⁻⁶. So
// unknown browsers get 25 tries a year (SP 800-63B, "Rate Limiting (Throttling)"). A code of seven
// or eight digits is harder to guess, but a try of it costs at least one unit too.
//
// A limit must not let others lock the owner out. So only a client that has the password can use up
// the limits on codes, and unknown browsers can't use up the limits of known ones. Past a limit, a
// harder way to sign in remains, such as two codes in a row. A success gives no tries back; only
// time does.
//
// A mailed link lets a browser try passwords when unknown browsers can't. One more row with the same
// limits counts the passwords of all such browsers of an account. Their codes count as those of
// unknown browsers. So links give a guesser at most 100 more passwords a day and no code (R33).
//
// A try is reserved, the reservation is committed, and only then is the credential verified. The
// reservation is given back if the credential was right. Otherwise, even after a crash, it stays
// and counts as a wrong try. A row has a version, and a write succeeds only if the version is
// unchanged. So concurrent requests, on any number of nodes, can't together exceed a limit.
//
// decide.go has the rules and the pure decision; ledger.go reads and writes rows; row.go
// encodes them; suspect.go says when wrong codes mean that a password may be stolen; instance.go
// counts the wrong codes of all accounts; prefix.go finds the network of an address; queue.go
// shares hashing slots among accounts, browsers and networks.
package throttle
