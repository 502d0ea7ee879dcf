package forwardauth

// haproxy returns the dialect of deploy/proxy/sallyport.lua for HAProxy, which sends every
// answer except 200 to the client.
func haproxy() dialect {
	return dialect{path: Prefix + "haproxy", reads: forwardedHeaders(), read: readForwarded, address: addressInForwardedFor, forwardsAnswers: true}
}
