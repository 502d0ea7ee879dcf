// Package gateway is the built-in reverse proxy in front of panels. It asks package entry about
// each request, and forwards the request if entry admits it. It owns no table.
//
//   - The request that the panel gets (request.go): identity headers name the user. Sallyport's
//     cookies, machine passes, and all headers that a panel would trust as written by a proxy are
//     removed first. The gateway adds a header by which it recognizes a request that comes back.
//   - The answer that the client gets (answer.go): a panel can't set Sallyport's cookies, clear
//     the cookies of other hosts, or let shared caches store pages that require a sign-in.
//   - Connections to the panel (connections.go): users share them, except where a panel would
//     mix their requests or sign-ins.
//   - Time limits (pace.go): transfers of clients with a visit or a machine pass aren't limited.
//     Those of other clients must not stall.
//
// WebSockets, server-sent events, uploads and downloads have no size limit. The gateway checks
// their visit or machine pass every few seconds, and ends the transfer when the visit or pass has
// ended (gateway.go).
//
// The gateway serves no pages of its own. The functions in [Options] show the error pages and
// start the sign-in; package web provides them.
package gateway
