// Package web serves the pages of the portal to browsers. Packages login, entry
// and manage make its decisions about credentials, panels and changes. It owns no table.
//
// The portal handles a request in these steps:
//
//   - [New] returns the portal's handler. guard.go checks the request's host and that it came
//     by TLS. web.go reads its session, and compares the session with the requirement of the route.
//   - routes.go lists the routes with their requirements. A handler reads a form, calls one
//     function of login, entry or manage, and shows a page or redirects. Each area of the pages
//     has a type: [signIn] (login.go, newpassword.go, reauthenticate.go), [setUp] (setup.go),
//     [security] (settings.go, wizard.go), [sessions], [passes] and [panels]. They share
//     [server].
//   - pages.go has the data of each page. Package page fills the templates with it, and adds what
//     all pages share.
//   - fail.go answers every error with a page or a redirect.
//
// [NewPanelHost] returns the handler for the paths below /.sallyport/ on the hosts of panels
// (panelhost.go). There a sign-in for a panel starts, and returns with a handoff from the portal
// (panels.go). back.go carries the requested address through the sign-in. sharedhost.go
// restricts a portal that shares its host with a panel, whose scripts have the same origin.
//
// Pages work without scripts. No page has text from a query, except for sentences of the
// catalogue that the query selects by name.
package web
