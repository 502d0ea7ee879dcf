// Package access decides whether a request is admitted. It is pure: it reads no clock, no
// network and no database, and owns no table. It holds five things:
//
//   - [Demand] is what a route or a panel requires of a session, [Bearer] is what is known
//     about the sender of a request, and [Check] compares the two. No other function of
//     Sallyport grants access.
//   - [Panel] is one web application behind the gate. [Panel.DemandFor] returns the demand of
//     its rules for a request. Servers read paths in different ways, so it considers every
//     reading that a panel may use, and refuses a request if they give different demands
//     (R22). It also covers the resources that headers name, such as WebDAV's Destination.
//   - [Scope] is the part of a panel that a machine pass opens. Package pass stores passes;
//     this package finds one in a request and compares it with the scope.
//   - [Proxies] are the trusted proxies. Forwarded headers are used only if one of them sent
//     the request (R21). [IsProxyHeader] says which headers of a client a panel must not get.
//   - [CanonicalHost] is the only parser of host names, and [Cookie] the only one of cookies,
//     so that no two parts of Sallyport read a request differently.
//
// Packages login, gateway and forwardauth ask this package about each request and carry out
// its verdict. An error here opens a panel: the tests compare [Panel.DemandOf] with models of
// other servers, and its fuzz tests look for a path that one of them reads differently.
package access
