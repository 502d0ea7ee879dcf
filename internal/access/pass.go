package access

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// PassHeader is the header that brings a machine pass and nothing else.
const PassHeader = "Sallyport-Pass"

// PassPrefix begins the token of every machine pass. It tells one from the
// tokens of others, and lets scanners find one that was published.
const PassPrefix = "spp_"

// Pass returns the machine pass that a request brings, or "": the value of
// [PassHeader], else a bearer token or the password of HTTP Basic that begins as
// a pass does. Every other Authorization is the panel's business. Of several none
// is believed.
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

// passIn returns the pass in a value of Authorization, or "".
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

// PanelAuthorization returns what a panel may see of a request's Authorization:
// all but passes.
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
	// maxScopePath is the longest path of a scope, in bytes.
	maxScopePath = 500
	// maxMethods and maxMethod bound the methods and the letters of one: WebDAV's
	// longest, with the others that there are.
	maxMethods = 20
	maxMethod  = 20
	// maxPrefixes of addresses; more are a network's list, not a script's.
	maxPrefixes = 20
)

// Errors of [NewScope].
var (
	ErrScopePath      = errors.New(`path isn't usable: begin with "/", end with "/" for everything below, and use only characters that browsers don't escape`)
	ErrScopeMethods   = errors.New("methods aren't usable: write them like GET, POST")
	ErrScopeAddresses = errors.New("addresses aren't usable: write them like 192.0.2.7, 10.0.0.0/8")
)

// Errors of [Scope.Check]. Whoever has the pass may read them.
var (
	ErrPassMethod  = errors.New("the pass isn't for this method")
	ErrPassAddress = errors.New("the pass isn't for the address that it comes from")
	ErrPassPath    = errors.New("the pass isn't for this path")
	ErrPassNamed   = errors.New("the pass isn't for the second path that a header of the request names")
	ErrPassBody    = errors.New("the request names resources in its body, which the gate doesn't read, and the pass is for one path of the panel only")
)

// Scope is the part of a panel that a machine pass opens. [NewScope] makes one;
// it must not be changed.
type Scope struct {
	Panel     string         // its origin
	Path      string         // ending in "/": whole segments below it; else exactly this path
	Methods   []string       // none: all
	Addresses []netip.Prefix // none: from anywhere
}

// NewScope reads a scope as a person writes it: lists are separated by commas or
// spaces, and may be empty. It returns one of the errors above.
func NewScope(panel, path, methods, addresses string) (Scope, error) {
	s := Scope{Panel: panel, Path: path}
	if !plain(path) || len(path) > maxScopePath || strings.HasPrefix(strings.ToLower(path)+"/", OwnPrefix) {
		return Scope{}, ErrScopePath
	}
	for _, method := range list(methods) {
		method = strings.ToUpper(method)
		if strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" || len(method) > maxMethod {
			return Scope{}, ErrScopeMethods
		}
		s.Methods = append(s.Methods, method)
	}
	if len(s.Methods) > maxMethods {
		return Scope{}, ErrScopeMethods
	}
	for _, text := range list(addresses) {
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

func list(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

// parsePrefix reads a prefix, or an address as the prefix that holds it alone.
func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		if err == nil && prefix.Addr().Is4In6() {
			err = ErrScopeAddresses // clients' addresses are never written so
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

// MethodList returns the methods as [NewScope] reads them.
func (s Scope) MethodList() string { return strings.Join(s.Methods, ", ") }

// AddressList returns the prefixes as [NewScope] reads them, single addresses
// without their length.
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

// Check returns why the pass isn't for a request, or nil: from is the client's address,
// which may be unknown, and then is none of those listed. Every resource that the request
// names must lie within the scope.
func (s Scope) Check(a Ask, from netip.Addr) error {
	method := a.Method
	if method == http.MethodHead && slices.Contains(s.Methods, http.MethodGet) {
		method = http.MethodGet
	}
	switch {
	case len(s.Methods) > 0 && (!slices.Contains(s.Methods, method) || a.isOverridden()):
		return ErrPassMethod
	case len(s.Addresses) > 0 && !Proxies(s.Addresses).Contain(from):
		return ErrPassAddress
	case !s.holds(a.Target):
		return ErrPassPath
	case !strings.HasSuffix(s.Path, "/") && a.isTree():
		return ErrPassPath // what lies below isn't the pass's
	case s.Path == "/" || a.isPlain() && !a.namesInBody():
		return nil
	case a.namesInBody() || a.hasMethod(queryMethods):
		return ErrPassBody
	}
	targets, err := a.namedTargets(s.Panel)
	if err != nil || slices.ContainsFunc(targets, func(target string) bool { return !s.holds(target) }) {
		return ErrPassNamed
	}
	return nil
}

// holds reports whether the panel finds a path of the scope for a raw one, however
// it reads it: every reading must lie within, with case (R22).
func (s Scope) holds(target string) bool {
	if s.Path == "/" {
		return true // all that the panel may find
	}
	path, _, _ := strings.Cut(target, "?")
	if plain(path) {
		return s.at(path)
	}
	all, ok := readings(path)
	if !ok {
		return false
	}
	return !slices.ContainsFunc(all, func(reading string) bool {
		_, foldable := fold(reading)
		return !foldable || !s.at(reading)
	})
}

func (s Scope) at(path string) bool {
	return path == s.Path || strings.HasSuffix(s.Path, "/") && strings.HasPrefix(path, s.Path)
}

// Client returns the address of the client that a request comes from, or an
// invalid one where it isn't known: a trusted proxy is nobody's client.
func (p Proxies) Client(addr netip.Addr) netip.Addr {
	if p.Contain(addr) {
		return netip.Addr{}
	}
	return addr
}
