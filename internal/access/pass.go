package access

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// PassHeader is the header that carries only a machine pass.
const PassHeader = "Sallyport-Pass"

// PassPrefix is the prefix of every machine pass. It distinguishes a pass from the tokens of
// other systems, and lets secret scanners find a pass that was published.
const PassPrefix = "spp_"

// Pass returns the machine pass of a request, or "" if the request has no pass. It is the value
// of [PassHeader], otherwise a bearer token or the password of HTTP Basic with the prefix
// [PassPrefix]. Any other Authorization is for the panel. If the header occurs more than once,
// the result is "".
func Pass(h http.Header) string {
	if given, ok := h[PassHeader]; ok {
		if len(given) != 1 {
			return ""
		}
		return given[0]
	}
	given := h["Authorization"]
	if len(given) != 1 {
		return ""
	}
	return passIn(given[0])
}

// passIn returns the machine pass in a value of Authorization, or "".
func passIn(authorization string) string {
	scheme, given, _ := strings.Cut(authorization, " ")
	given = strings.TrimSpace(given)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
	case strings.EqualFold(scheme, "Basic"):
		pair, _ := base64.StdEncoding.DecodeString(given)
		_, given, _ = strings.Cut(string(pair), ":")
	default:
		return ""
	}
	if !strings.HasPrefix(given, PassPrefix) {
		return ""
	}
	return given
}

// PanelAuthorization returns the values of Authorization that a panel may get: all except
// those with a machine pass.
func PanelAuthorization(h http.Header) []string {
	var kept []string
	for _, value := range h["Authorization"] {
		if passIn(value) == "" {
			kept = append(kept, value)
		}
	}
	return kept
}

const (
	// maxScopePath is the maximum length of a scope's path, in bytes.
	maxScopePath = 500
	// maxMethods and maxMethod are the maximum number of methods and the maximum length of
	// one. The longest of WebDAV (VERSION-CONTROL) fits.
	maxMethods = 20
	maxMethod  = 20
	// maxPrefixes is the maximum number of address prefixes: enough for one machine's pass.
	maxPrefixes = 20
)

// Errors of [NewScope].
var (
	ErrScopePath      = errors.New(`path isn't usable: begin with "/", end with "/" for everything below, and use only characters that browsers don't escape`)
	ErrScopeMethods   = errors.New("methods aren't usable: write them like GET, POST")
	ErrScopeAddresses = errors.New("addresses aren't usable: write them like 192.0.2.7, 10.0.0.0/8")
)

// Errors of [Scope.Check]. They are shown to the client that sent the pass.
var (
	ErrPassMethod  = errors.New("the pass isn't for this method")
	ErrPassAddress = errors.New("the pass isn't for the address that it comes from")
	ErrPassPath    = errors.New("the pass isn't for this path")
	ErrPassNamed   = errors.New("the pass isn't for the second path that a header of the request names")
	ErrPassBody    = errors.New("the request names resources in its body, which the gate doesn't read, and the pass is for one path of the panel only")
)

// Scope is the part of a panel that a machine pass opens. [NewScope] returns one; it must not
// be changed.
type Scope struct {
	Panel     string         // the panel's origin
	Path      string         // if it ends with "/": all paths below; otherwise exactly this path
	Methods   []string       // empty: all methods
	Addresses []netip.Prefix // empty: any address
}

// NewScope parses a scope from text that a person writes: the lists are separated by commas
// or spaces and may be empty. The error is [ErrScopePath], [ErrScopeMethods] or
// [ErrScopeAddresses].
func NewScope(panel, path, methods, addresses string) (Scope, error) {
	s := Scope{Panel: panel, Path: path}
	if !isPlainPath(path) || len(path) > maxScopePath || strings.HasPrefix(strings.ToLower(path)+"/", OwnPrefix) {
		return Scope{}, ErrScopePath
	}
	for _, method := range splitList(methods) {
		method = strings.ToUpper(method)
		if strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" || len(method) > maxMethod {
			return Scope{}, ErrScopeMethods
		}
		s.Methods = append(s.Methods, method)
	}
	if len(s.Methods) > maxMethods {
		return Scope{}, ErrScopeMethods
	}
	for _, text := range splitList(addresses) {
		prefix, err := parsePrefix(text)
		if err != nil {
			return Scope{}, ErrScopeAddresses
		}
		s.Addresses = append(s.Addresses, prefix)
	}
	if len(s.Addresses) > maxPrefixes {
		return Scope{}, ErrScopeAddresses
	}
	return s, nil
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

// parsePrefix parses a prefix. A single address gives the prefix that contains only it.
func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		if err == nil && prefix.Addr().Is4In6() {
			err = ErrScopeAddresses // clients' addresses are never in this form, so it wouldn't match any
		}
		return prefix.Masked(), err
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, ErrScopeAddresses
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// MethodList returns the methods as text for [NewScope].
func (s Scope) MethodList() string { return strings.Join(s.Methods, ", ") }

// AddressList returns the prefixes as text for [NewScope]. A prefix of one address is written as
// that address.
func (s Scope) AddressList() string {
	var all []string
	for _, p := range s.Addresses {
		if p.IsSingleIP() {
			all = append(all, p.Addr().String())
		} else {
			all = append(all, p.String())
		}
	}
	return strings.Join(all, ", ")
}

// Check returns nil if the scope allows a request, and otherwise one of the errors above. Every
// resource that the request names must be within the scope. client is the client's address. An
// invalid one means that the address is unknown; it lies in no prefix.
func (s Scope) Check(r Request, client netip.Addr) error {
	method := r.Method
	if method == http.MethodHead && slices.Contains(s.Methods, http.MethodGet) {
		method = http.MethodGet
	}
	switch {
	case len(s.Methods) > 0 && (!slices.Contains(s.Methods, method) || r.isOverridden()):
		return ErrPassMethod
	case len(s.Addresses) > 0 && !Proxies(s.Addresses).Contains(client):
		return ErrPassAddress
	case !s.contains(r.Target):
		return ErrPassPath
	case !strings.HasSuffix(s.Path, "/") && r.isTree():
		return ErrPassPath // the paths below aren't in the scope
	case s.Path == "/" || r.concernsPathOnly() && !r.namesInBody():
		return nil
	case r.namesInBody() || r.hasMethod(queryMethods):
		return ErrPassBody
	}
	targets, err := r.namedTargets(s.Panel)
	if err != nil || slices.ContainsFunc(targets, func(target string) bool { return !s.contains(target) }) {
		return ErrPassNamed
	}
	return nil
}

// contains reports whether a raw path is within the scope in every way that the panel may
// read it (R22). Case matters.
func (s Scope) contains(target string) bool {
	if s.Path == "/" {
		return true // every path of the panel
	}
	path, _, _ := strings.Cut(target, "?")
	if isPlainPath(path) {
		return s.containsReading(path)
	}
	all, ok := readings(path)
	if !ok {
		return false
	}
	return !slices.ContainsFunc(all, func(reading string) bool {
		_, foldable := fold(reading)
		return !foldable || !s.containsReading(reading)
	})
}

func (s Scope) containsReading(path string) bool {
	return path == s.Path || strings.HasSuffix(s.Path, "/") && strings.HasPrefix(path, s.Path)
}

// Client returns addr if it is the address of a client. It returns an invalid address if addr
// is a trusted proxy's, since the client is unknown then.
func (p Proxies) Client(addr netip.Addr) netip.Addr {
	if p.Contains(addr) {
		return netip.Addr{}
	}
	return addr
}
