// Package doctor tests a live set-up from outside, as an unauthenticated client: whether
// any request reaches a panel without a check by Sallyport. It needs no account, doesn't
// sign in and makes no changes. It owns no table.
//
// [Run] sends requests that Sallyport must refuse. Sallyport's refusal is recognisable,
// and it names the page to which a sign-in would return (gate.go). So a refusal also shows
// which request the proxy asked Sallyport about, and whether a client can change that by
// a header. Any other answer comes from the panel, or from the proxy itself; classify in
// gate.go decides which.
//
// Pages, hosts and methods in the requests don't exist, so that a request that does get
// through has no effect. Their names contain a random marker.
//
// The tests run in this order:
//
//	files.go      modes of files that hold secrets
//	running.go    is the server running, and does it use the scheme of the configuration
//	doctor.go     the portal, its clock and its readiness
//	dns.go        names without an address or with a wrong one
//	panel.go      each panel: paths, methods, headers (their lists are in probes.go)
//	hosts.go      other host names, and the paths that only proxies may query
//	upgrade.go    upgrades to other protocols, and headers that name a second resource
//	transport.go  certificates, redirects to https, HSTS, cookies
//	upstream.go   the panel's own server and the metrics, reached without the proxy
//
// findings.go has an entry for each kind of finding, and fixes.txt the lines that fix it
// for each proxy. docs/doctor.md explains each kind.
package doctor
