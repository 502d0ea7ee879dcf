// Package session owns sessions, visits and handoffs, and the tables of these names.
//
// A session is a browser that is signed in to the portal. It begins only after every stage of an
// attempt (R12), and only the function finish of package login creates one (R13). It ends at its
// absolute end, after its idle time without a request, when it is revoked, or when the account is
// disabled or gets a new stamp (R17). All of these are checked whenever a session is read, so
// an expired session is void even before its row is deleted.
//
// A visit is a session's admission to one panel. A panel is on another host, to which browsers
// don't send the portal's cookie, so the visit has a token and a cookie of its own. It is valid
// as long as its session is. A change of the account's credentials ends the visit earlier; the
// session's browser then gets a new visit by redirects.
//
// A handoff carries a session from the portal to a panel's host: the portal stores a handoff with
// HandOff and redirects, and the panel's host redeems it with Enter. It is valid once, within a
// minute, and only in the browser that holds the matching state cookie, so that a thief can't
// sign a victim in to the thief's own account.
//
// A token is 32 random bytes and exists only in cookies and redirects; the database has its
// SHA-256.
package session
