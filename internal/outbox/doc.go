// Package outbox sends what the server has to tell others: mails and requests to webhooks. It
// owns the tables outbox and outbox_quotas.
//
// [Add] stores a message in the transaction of the change that it reports, so that neither
// exists without the other. No request waits for the other side. A [Pump] on every node sends
// the messages:
//
//	waiting ──claim──► claimed ──sent──► deleted
//	   ▲                  │
//	   └──── failed ──────┤ retried by [plan]
//	                      └─ gave up ──► deleted, with an audit event
//
// A claim is one conditional statement, so of many nodes one sends a message. It has an end:
// when a node is killed, another one takes its messages over. A message may therefore arrive
// twice, with the same id, if its node was killed between the other side's acceptance and the
// deletion, or if the answer was lost. It is never lost without an event.
//
// A [Sender] says by the [Class] of its error what happens next. Quotas ([Limit]) keep a flood
// of events from becoming a flood of mails: messages of one topic to one account are folded into
// one that says how many it stands for.
//
// Bodies are sealed under the key ring. They may hold the secret of a link.
package outbox
