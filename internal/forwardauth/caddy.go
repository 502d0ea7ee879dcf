package forwardauth

// caddy returns the dialect of Caddy's forward_auth, which sends every answer except 2xx to the
// client.
func caddy() dialect {
	return dialect{path: Prefix + "caddy", reads: forwardedHeaders(), read: readForwarded, address: addressInForwardedFor, forwardsAnswers: true}
}
