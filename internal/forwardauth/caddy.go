package forwardauth

// caddy asks by forward_auth, which sends the client every answer but 2xx.
func caddy() dialect {
	return dialect{path: Prefix + "caddy", reads: forwarded(), read: readForwarded, from: fromForwarded, passesAnswersOn: true}
}
