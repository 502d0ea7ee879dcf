package forwardauth

// traefik asks by its ForwardAuth middleware, which sends the client every
// answer but 2xx, and resolves a relative Location against our own address:
// ours are absolute.
func traefik() dialect {
	return dialect{path: Prefix + "traefik", reads: forwarded(), read: readForwarded, from: fromForwarded, passesAnswersOn: true}
}
