// Package outbox stores and sends the messages of the server, which are mails and requests to
// webhooks. It owns the tables outbox and outbox_quotas. In this package, "the other side" is the
// mail server or the webhook.
//
// [Add] stores a message in the transaction of the change that it reports, so that neither exists
// without the other. No request of a browser waits for the other side. A [Pump] on every node sends
// the messages:
//
//	waiting ──claim──► claimed ──sent──► deleted
//	   ▲                  │
//	   └──── failed ──────┤ retried by [plan]
//	                      └─ gave up ──► deleted, with an audit event
//
// A claim is one conditional statement, so that only one of many nodes sends a message. A claim ends
// after some time, so that another node takes over the messages of a node that was killed. So a
// message can arrive twice, with the same id: if its node was killed after the other side had
// accepted the message and before the node deleted it, or if the answer was lost. No message is lost
// without an audit event.
//
// If a [Sender] returns an error, the [Class] of that error says what happens next. Quotas ([Limit])
// keep a flood of events from becoming a flood of mails: messages over a quota that have the same
// topic and account are folded into one message, which says how many it stands for.
//
// Bodies are sealed under the key ring. They may hold the secret of a link.
package outbox
