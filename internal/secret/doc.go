// Package secret owns what must not leak: the key ring, stored secrets, tokens,
// and text that prints as "[redacted]". It owns no table.
//
// A [Ring] holds the keys. One of them seals and every one opens. [Ring.Seal]
// encrypts a secret for its [Place], a table, column and row, with AES-256-GCM;
// elsewhere the sealed bytes don't open. [Ring.MAC] computes a value that stays
// the same whatever happens to the keys, for look-ups.
//
// Each key has a [Signer], which signs the audit log. A signer stays in the ring when its key is
// dropped, so that old signatures verify. Its own signatures count only up to the place in the
// log where the next signer took over, so that a stolen copy of an old ring can't forge later
// events (sign.go).
//
// A key starts as a spare ([AddKey]), then seals ([RotateKeys]), then only opens,
// and is dropped in the end ([RemoveOldKeys]). A running server takes over a
// changed ring by itself ([Ring.Follow]). The ring comes from a [Source]: a file
// that these functions write, a systemd credential or a program.
//
// A token ([NewToken]) is shown once, and the database keeps its [Hash]. [Text] keeps secrets out
// of logs, errors and pages. [Argon2id] hashes passwords and backup codes.
package secret
