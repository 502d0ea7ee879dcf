// Package page has what the pages of all doors have in common. It is between the doors and the
// packages that decide, and makes no decisions itself.
//
//   - [Site] (site.go) has what a door needs to answer requests. [Site.Wrap] gives every answer
//     the security headers, limits and a line in the log.
//   - [Request] (request.go) is a request with its answer, browser, account and language. Its form
//     is read by name (form.go), its cookies belong to one host (cookies.go).
//   - [Views] (views.go) renders pages from templates and serves static files. The layout, the
//     error page, the icons, the style sheet and the scripts are in this package. A door hands in
//     the templates of its own pages.
//   - [Frame] (frame.go) is the part of every page's data that the layout shows. Its methods give
//     templates their text and dates in the language of the request, so that all languages share
//     one set of parsed templates.
//   - [Fault] (fault.go) is what an error page says. [Site.FaultOf] knows the errors that every
//     door may have. A door adds its own and then calls [Site.ShowFault], which also logs the
//     reason.
//
// A page's data is a struct that embeds [Frame]:
//
//	site.Render(req, http.StatusOK, "home", &homePage{Frame: req.Frame(title, "")})
package page
