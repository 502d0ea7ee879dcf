// Package secret owns what must not leak: the key ring, stored secrets, tokens,
// and text that prints as "[redacted]". It owns no table.
//
// A [Ring] holds the keys. One of them seals, and each of them opens what it sealed. [Ring.Seal]
// encrypts a secret with AES-256-GCM for its [Place]: a table, column and row. In another place the
// sealed bytes don't open. [Ring.MAC] computes values for look-ups, which stay the same when the
// keys change.
//
// Each key has a [Signer], which signs the audit log. A signer stays in the ring when its key is
// dropped, so that its old signatures can be verified. But its signatures count only up to the place
// in the log where the next signer took over, so that a thief with a copy of an old ring can't forge
// later events (sign.go).
//
// A key is first a spare ([AddKey]), then the one that seals ([RotateKeys]), then one that only
// opens, and in the end it is dropped ([RemoveOldKeys]). A running server takes over a changed ring
// by itself ([Ring.Follow]). The ring comes from a [Source]: a file that these functions write, a
// systemd credential, or a program that prints it.
//
// A token ([NewToken]) is shown once, and the database keeps its [Hash]. [Text] keeps secrets out
// of logs, errors and pages. [Argon2id] hashes passwords and backup codes.
package secret
