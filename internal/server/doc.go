// Package server builds a portal from the configuration, serves it, and runs its
// background jobs. It hands the clock to every other package. It owns no table.
//
// [Open] reads the key ring, opens the database and builds the services that web, the gateways
// and forward-auth share. It creates a missing portal; [OpenExisting] is for commands that must not
// create one. [Portal.Serve] locks an SQLite database, binds the addresses, starts the jobs and
// answers requests until its context ends; then it drains. [Portal.Reload] replaces panels, trusted
// proxies and certificates while requests are being answered.
//
// A request takes this path:
//
//	Portal.Handler   the handler in force, which a reload replaces (reload.go)
//	router           chooses by the request's host (router.go)
//	  ├─ web               the portal's own host
//	  ├─ web.PanelHost     /.sallyport/ on a panel's host, and pages of refusal
//	  ├─ forwardauth       the paths that other proxies query
//	  └─ gateway           a panel that Sallyport itself proxies
//
// panels.go translates the panels of the configuration into those of access and gateway. Some
// mistakes in a configuration show only when the server uses it; faults.go turns the errors that
// they cause into messages that name the configuration key. process.go lets another process find this one and make it
// reload.
package server
