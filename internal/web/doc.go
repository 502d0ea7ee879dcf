// Package web serves the pages of the portal to browsers. It leaves the decisions about
// credentials, panels and changes to packages login, entry and manage. It owns no table.
//
// The portal handles a request in these steps:
//
//   - [New] returns the portal's handler. guard.go checks the request's host and that the request
//     came by TLS. web.go reads its session, which must meet the requirement of the route.
//   - routes.go lists the routes with their requirements. A handler reads a form, calls one
//     function of login, entry or manage, and shows a page or redirects. Each area of the pages
//     has a type: [signIn] (login.go, newpassword.go, reauthenticate.go), [setUp] (setup.go),
//     [security] (settings.go, wizard.go), [sessions], [passes] and [panels]. They share
//     [server].
//   - pages.go has the data of each page. Package page fills the templates with the data, and adds
//     what all pages share.
//   - fail.go answers every error with a page or a redirect.
//
// [NewPanelHost] returns the handler for the paths below /.sallyport/ on the hosts of panels
// (panelhost.go). A sign-in for a panel starts there, and returns there with a handoff from the
// portal (panels.go). back.go carries the requested address through the sign-in. sharedhost.go
// restricts a portal that shares its host with a panel, whose scripts then have the portal's origin.
//
// Pages work without scripts. No page shows text from a query; a query can only select sentences
// of the catalogue by name.
package web
