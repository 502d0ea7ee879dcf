package forwardauth

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// nginx returns the dialect of nginx's auth_request. The answer to its subrequest must be 2xx,
// 401 or 403, and the client gets neither its headers nor its body.
func nginx() dialect {
	return dialect{path: Prefix + "nginx", reads: originalHeaders(), read: readOriginal, address: addressInRealIP}
}

// nginxRefused returns the dialect of the second question, which nginx asks after a refusal and
// whose answer it sends to the client. With proxy_intercept_errors, nginx also asks it when the
// panel itself refused a request.
func nginxRefused() dialect {
	return dialect{path: Prefix + "nginx/refused", reads: originalHeaders(), read: readOriginal, address: addressInRealIP, forwardsAnswers: true, afterRefusal: true}
}

func originalHeaders() []string { return []string{"X-Original-Method", "X-Original-Url", "X-Real-Ip"} }

// readOriginal reads X-Original-URL, such as https://panel.example.com/a?b. The path stays as
// the client wrote it.
func readOriginal(r *http.Request) (question, error) {
	_, rest, ok := strings.Cut(r.Header.Get("X-Original-Url"), "://")
	slash := strings.IndexByte(rest, '/')
	if !ok || slash < 0 {
		return question{}, errors.New("X-Original-URL isn't the address of a page")
	}
	return question{method: r.Header.Get("X-Original-Method"), host: rest[:slash], target: rest[slash:]}, nil
}

func addressInRealIP(r *http.Request, _ access.Proxies) netip.Addr {
	return access.HopAddress(r.Header.Get("X-Real-Ip")) // invalid for "unix:"
}
