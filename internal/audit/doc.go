// Package audit owns the audit log, table events: what happened to an account,
// who did it, from where, and the outcome. Events are only ever added. They never
// contain a secret, a code or a token.
//
// [Append] adds an event in the transaction of the change that it reports. Soon
// afterwards [Seal] gives it the next number in a chain of MACs (seal.go, table
// audit_head), which [Verify] walks (verify.go, broken.go). [Prune] deletes the
// oldest events and leaves a signed checkpoint (prune.go, table audit_checkpoints).
//
// The columns actor_id, client_id and reason came later. The signature of an event that has one of
// them covers all three and is made for another purpose. So older logs still verify, and a signature
// of one form isn't valid for the other. The column sealed_form stops earlier versions from sealing
// such an event without the three.
//
// Each key of the key ring has a MAC key of its own. The last event of the chain decides which
// key seals the next one, on all nodes and whatever their rings hold. Only [HandOver], at a key
// rotation, changes it. The ring records the place of that change, and no older key is valid
// after it. So a copy of an old ring can't forge an event.
//
// An attacker who can write to the database but can't read the key ring can't
// change a sealed event unnoticed, with one exception: cutting off the end of the
// log together with every record of that end. Each sealed head is therefore written
// to the server's log too, for [Verify] to compare. Events that are not sealed yet,
// those of the last few seconds, can be forged by such an attacker.
package audit
