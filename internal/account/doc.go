// Package account owns accounts and groups, and the tables accounts, groups and members.
// Credentials belong to the packages below authenticator.
//
// An account has a name and possibly an e-mail address. Both are stored in a normal form, which
// is unique and is used for look-ups, so that another spelling doesn't lead to a second account
// or a second budget (R5). The account's security stamp changes with every change of the
// credentials. Sessions, attempts and passes with an earlier stamp are invalid (R17). Lock locks
// the account's row; every transaction that changes an account begins with it, so that such
// changes run one after the other and don't deadlock.
//
// A group is a named set of accounts that the rules of panels refer to.
//
// Every change is reported to the transaction (db.Tx.Changed), so that caches on all nodes
// drop what they know about the account.
package account
