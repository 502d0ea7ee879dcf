// Package manage holds every change of an account: its password, authenticators, backup codes,
// machine passes, links, sessions, known browsers and groups. The owner's pages and the command
// line make a change through the same function; its [Actor] appears in the audit log and decides
// which limits apply.
//
//	an owner's page ──► edit, editPaced      lock the account's row, read the session again,
//	                                         count the change against the owner's limit
//	                ──► editCredentials      end everything that the old credentials opened
//	the command line ─► editAs               lock the account's row and read it again
//
// A change is one transaction: the changed rows, what ends with them and the audit event are
// written together or not at all. One function, login.EndOthers, decides what ends when a
// credential changes. A changed password, a removed authenticator or an operator's reset ends
// every other session, visit, known browser, sign-in under way and machine pass of the account.
// An added authenticator does the same, but spares machine passes that were made with two factors
// or on the command line.
//
// The functions that take [login.Me] are only for the account's owner. They don't ask for a fresh
// proof, since the list of routes does that for every page that calls them. An error that a
// function's comment doesn't name means that the change was not made.
//
// The package opens no session. It owns no table: the packages account, authenticator, pass,
// session and others own them.
package manage
