// Package admin serves the pages below /admin, on which people with a role look after the
// accounts of others. Package access decides which role may take which action, and package manage
// makes the changes, as it does for owners and for the command line. Package admin owns no table.
//
// routes.go lists the routes, with the action that the account must be allowed to take and the
// requirement that the session must meet. [New] returns the handler, which package web mounts
// behind its own checks of host, TLS and origin. accounts.go and account.go show accounts;
// actions.go has the forms that change them. Each change is a page of its own, which says what it
// means and asks for a reason.
//
// An account without a role gets the same answer as for a page that doesn't exist, so these pages
// don't reveal whether an id is an account's. They show no secret: neither a code nor a link that
// opens another person's account.
package admin
