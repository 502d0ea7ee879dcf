package forwardauth

import (
	"net/http"
	"strings"
)

// envoy returns the dialect of Envoy's ext_authz over HTTP. Envoy sends the method and host of
// the client's request, and its path after a prefix. It sends every answer except 200 to the
// client.
func envoy() dialect {
	return dialect{path: Prefix + "envoy/", read: readEnvoy, address: addressInForwardedFor, forwardsAnswers: true, removes: "X-Envoy-Auth-Headers-To-Remove"}
}

func readEnvoy(r *http.Request) (question, error) {
	return question{method: r.Method, host: r.Host, target: strings.TrimPrefix(r.RequestURI, Prefix+"envoy")}, nil
}
