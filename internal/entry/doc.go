// Package entry decides whether a request may enter a panel, and carries sessions from the
// portal to panels' hosts. The gateway and forward-auth ask it about every request; it needs
// no sign-in machine for the answer, only a session and its account.
//
//	request ──► Panel.DemandFor   what does the panel demand for this path?
//	        ──► Admissions        is the visit in the cache?
//	        ──► session, pass     otherwise read the visit, then the machine pass
//	        ──► access.Check      does the visitor meet the demand?
//
// A browser comes to a panel's host without a cookie. It goes to the portal, where
// [Service.MayEnter] says what is missing, and [Service.HandOff] makes a handoff for the
// session. [Service.Enter] redeems it on the panel's host and starts a visit, whose cookie is
// valid on that host only.
//
// The cache keeps visits and passes for seconds. Every transaction that ends or weakens one of
// them evicts it on all nodes, and a node that can't be sure of that reads the database. Last
// uses of sessions and passes are collected in memory and written together.
//
// The package doesn't change accounts and credentials, which is the work of package manage.
// Packages session and pass own the tables.
package entry
