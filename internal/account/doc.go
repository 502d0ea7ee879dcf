// Package account owns accounts and groups, and the tables accounts, groups and members.
// Credentials belong to the packages below authenticator.
//
// An account has a name and possibly an e-mail address. Both have a normal form, which is
// unique and by which accounts are found, so that no spelling leads to a second account or a
// second budget (R5). Its security stamp changes with every change of the credentials, and
// whatever was made under an earlier stamp is invalid (R17). Lock locks the account's row;
// every transaction that changes an account begins with it, so that such changes run one
// after the other and don't deadlock.
//
// A group is a named set of accounts that the rules of panels refer to.
//
// Every change is reported to the transaction (db.Tx.Changed), so that caches on all nodes
// drop what they know about the account.
package account
