package forwardauth

import (
	"net/http"
	"strings"
)

// envoy asks by ext_authz over HTTP: the client's own method, host and path,
// the path behind a prefix, and sends the client every answer but 200.
func envoy() dialect {
	return dialect{path: Prefix + "envoy/", read: readEnvoy, from: fromForwarded, passesAnswersOn: true, removes: "X-Envoy-Auth-Headers-To-Remove"}
}

func readEnvoy(r *http.Request) (question, error) {
	return question{method: r.Method, host: r.Host, target: strings.TrimPrefix(r.RequestURI, Prefix+"envoy")}, nil
}
