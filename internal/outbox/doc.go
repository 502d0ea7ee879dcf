// Package outbox stores the messages that the server sends to others, which are mails and
// requests to webhooks, and sends them. It owns the tables outbox and outbox_quotas.
//
// [Add] stores a message in the transaction of the change that it reports, so that neither exists
// without the other. No request of a browser waits for a mail server or a webhook, which are
// called the other side in this package. A [Pump] on every node sends the messages:
//
//	waiting ──claim──► claimed ──sent──► deleted
//	   ▲                  │
//	   └──── failed ──────┤ retried by [plan]
//	                      └─ gave up ──► deleted, with an audit event
//
// A claim is one conditional statement, so that one of many nodes sends a message. A claim ends
// after some time, so that another node takes over the messages of a node that was killed. A
// message may therefore arrive twice, with the same id: if its node was killed after the other
// side had accepted it and before it was deleted, or if the answer was lost. No message is lost
// without an audit event.
//
// A [Sender] says by the [Class] of its error what happens next. Quotas ([Limit]) keep a flood of
// events from becoming a flood of mails: messages beyond a quota that have the same topic and
// account are folded into one, which says how many it stands for.
//
// Bodies are sealed under the key ring. They may hold the secret of a link.
package outbox
