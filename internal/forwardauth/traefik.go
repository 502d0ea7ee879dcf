package forwardauth

// traefik returns the dialect of Traefik's ForwardAuth middleware, which sends every answer
// except 2xx to the client. It would resolve a relative Location against the address of
// Sallyport, so every Location in an answer is absolute.
func traefik() dialect {
	return dialect{path: Prefix + "traefik", reads: forwardedHeaders(), read: readForwarded, address: addressInForwardedFor, forwardsAnswers: true}
}
