// Package session owns sessions, visits and handoffs, and the tables of these names.
//
// A session is a signed-in browser at the portal. It exists only after every stage of an
// attempt (R12), and only finish of package login creates one (R13). It ends at its absolute
// end, after its idle time without a request, when it is revoked, or when the account is
// disabled or gets a new stamp (R17). All of these are checked whenever a session is read, so
// expiry needs no sweep to take effect.
//
// A visit is a session's admission to one panel. A panel is on another host and can't read
// the portal's cookie, so the visit has a token and cookie of its own. It is valid as long as
// its session is. A change of the account's credentials ends it earlier; the session then
// gets a new visit by redirects.
//
// A handoff carries a session from the portal to a panel's host: the portal stores one with
// HandOff and redirects, and the panel's host redeems it with Enter. It is valid once, within a
// minute, and only in the browser that holds the matching state cookie, so that a thief can't
// sign a victim in to the thief's own account.
//
// Tokens are 32 random bytes and exist only in cookies and redirects; the database has their
// SHA-256.
package session
