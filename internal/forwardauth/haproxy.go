package forwardauth

// haproxy asks by deploy/proxy/sallyport.lua, which sends the client every
// answer but 200.
func haproxy() dialect {
	return dialect{path: Prefix + "haproxy", reads: forwarded(), read: readForwarded, from: fromForwarded, passesAnswersOn: true}
}
