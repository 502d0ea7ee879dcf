package forwardauth

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// nginx asks by auth_request: a subrequest whose answer is 2xx, 401 or 403,
// without headers or body for the client.
func nginx() dialect {
	return dialect{path: Prefix + "nginx", reads: original(), read: readOriginal, from: fromReal}
}

// nginxRefused is where nginx takes a request that was refused: it asks again,
// and this answer goes to the client. With proxy_intercept_errors nginx brings what the
// panel itself refused there too.
func nginxRefused() dialect {
	return dialect{path: Prefix + "nginx/refused", reads: original(), read: readOriginal, from: fromReal, passesAnswersOn: true, afterRefusal: true}
}

func original() []string { return []string{"X-Original-Method", "X-Original-Url", "X-Real-Ip"} }

// readOriginal reads X-Original-URL, such as https://panel.example.com/a?b.
// The path is kept as the client wrote it.
func readOriginal(r *http.Request) (question, error) {
	_, rest, ok := strings.Cut(r.Header.Get("X-Original-Url"), "://")
	slash := strings.IndexByte(rest, '/')
	if !ok || slash < 0 {
		return question{}, errors.New("X-Original-URL isn't the address of a page")
	}
	return question{method: r.Header.Get("X-Original-Method"), host: rest[:slash], target: rest[slash:]}, nil
}

func fromReal(r *http.Request, _ access.Proxies) netip.Addr {
	return access.HopAddress(r.Header.Get("X-Real-Ip")) // "unix:" is none
}
