package access

import (
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Some requests concern more than the path in their request line: COPY and MOVE of WebDAV have a
// Destination (RFC 4918, sections 9.8 and 9.9), object stores copy from a resource that a header
// names, and some methods name resources in their body. If a panel's rules differ, or a pass
// opens only a part of a panel, Sallyport checks every resource that a request names, and refuses
// the request if some names may be in its body.

// Reasons why the gate refuses a request regardless of its sender. They are shown to users and
// to clients with a machine pass.
var (
	ErrPath   = errors.New("the path can be read in more than one way, and this panel's rules are not the same for all of them")
	ErrNamed  = errors.New("a header of the request names a second resource that the gate can't check")
	ErrMixed  = errors.New("the request names resources whose rules can't be met together")
	ErrInBody = errors.New("the request names resources in its body, which the gate doesn't read, and this panel's rules differ")
)

// RefusedError says why a request is refused regardless of its sender.
type RefusedError struct {
	Target string // path and query as in the request line
	Reason error  // [ErrPath], [ErrNamed], [ErrMixed] or [ErrInBody]
}

func (e *RefusedError) Error() string { return e.Reason.Error() }
func (e *RefusedError) Unwrap() error { return e.Reason }

// Request is the part of an HTTP request that rules and the scopes of passes depend on.
type Request struct {
	Method string      // as the client sent it
	Target string      // path and query as in the request line
	Header http.Header // all headers that the client sent
}

// maxAncestors is the maximum depth of a path whose request names another resource by a
// relative name: that name may be relative to any folder above the path. Paths of WebDAV and
// object stores are far less deep.
const maxAncestors = 32

// DemandFor returns the demand for a request: the strictest of the demands for all resources
// that it names. The error is a [*RefusedError].
func (p *Panel) DemandFor(r Request) (Demand, error) {
	if !p.rulesDiffer {
		return p.Demand, nil // the same for every resource
	}
	d, err := p.demandFor(r)
	if err != nil {
		return Demand{}, &RefusedError{r.Target, err}
	}
	return d, nil
}

func (p *Panel) demandFor(r Request) (Demand, error) {
	d, ok := p.DemandOf(r.Target)
	if !ok {
		return Demand{}, ErrPath
	}
	if r.namesInBody() {
		return Demand{}, ErrInBody
	}
	if r.concernsPathOnly() {
		return d, nil
	}
	targets, err := r.namedTargets(p.Origin)
	if err != nil {
		return Demand{}, err
	}
	all := append([]string{r.Target}, targets...)
	for _, target := range targets {
		there, ok := p.DemandOf(target)
		if !ok {
			return Demand{}, ErrNamed
		}
		if d, ok = stricter(d, there); !ok {
			return Demand{}, ErrMixed
		}
	}
	if r.hasMethod(queryMethods) {
		all = []string{"/"} // the body names the resources
	}
	if r.isTree() || r.hasMethod(queryMethods) {
		for _, target := range all {
			if d, ok = p.demandOfTree(target, d); !ok {
				return Demand{}, ErrMixed
			}
		}
	}
	return d, nil
}

// demandOfTree returns the strictest of d and the demands for all paths below target: the demands
// of the rules there, and the panel's own demand if no rule covers some of these paths. ok is
// false if two of the demands can't be compared.
func (p *Panel) demandOfTree(target string, d Demand) (strictest Demand, ok bool) {
	path, _, _ := strings.Cut(target, "?")
	all, ok := readings(path)
	if !ok {
		return Demand{}, false
	}
	for _, reading := range all {
		folded, ok := fold(reading)
		if !ok {
			return Demand{}, false
		}
		folder := strings.TrimSuffix(folded, "/") + "/"
		covered := slices.ContainsFunc(p.rules, func(r rule) bool { return r.prefix && strings.HasPrefix(folder, r.folded+"/") })
		if !covered {
			if d, ok = stricter(d, p.Demand); !ok {
				return Demand{}, false
			}
		}
		for _, r := range p.rules {
			if !strings.HasPrefix(r.folded+"/", folder) {
				continue
			}
			if d, ok = stricter(d, r.demand); !ok {
				return Demand{}, false
			}
		}
	}
	return d, true
}

// concernsPathOnly reports whether a request concerns only its path, as nearly all do.
func (r Request) concernsPathOnly() bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodOptions:
	default:
		return false
	}
	if strings.Contains(r.Target, "_method") {
		return false
	}
	for name := range r.Header {
		if plain := PlainHeader(name); namesResource(plain) || namesForeignRoot(plain) || isOverride(plain) {
			return false
		}
	}
	return true
}

// namesResource reports whether the header with this plain name names a resource: the
// Destination of WebDAV and Swift, and the source of a copy or rename in S3, Google Cloud
// Storage, Azure and similar object stores.
func namesResource(plain string) bool {
	switch plain {
	case "Destination", "X-Copy-From", "X-Move-From":
		return true
	}
	for _, ending := range []string{"-Copy-Source", "-Rename-Source", "-Move-Source", "-Destination", "-Symlink-Target"} {
		if strings.HasSuffix(plain, ending) {
			return true
		}
	}
	return false
}

// namesForeignRoot reports whether the header with this plain name changes the root of other
// names in the request, or makes the resource refer to others later, as Swift's large objects,
// links and versions do.
func namesForeignRoot(plain string) bool {
	switch plain {
	case "Destination-Account", "X-Copy-From-Account", "X-Object-Manifest", "X-Symlink-Target-Account",
		"X-Versions-Location", "X-History-Location", "X-Ms-Source-Container-Name", "Redirect-Ref":
		return true
	}
	return false
}

var (
	// bodyMethods name the resources that they bind, link or merge in their body or in a
	// header with many values: RFC 5842, 4437, 2068 and 3253.
	bodyMethods = []string{
		"BIND", "REBIND", "UNBIND", "MKREDIRECTREF", "UPDATEREDIRECTREF", "LINK", "UNLINK", "MERGE", "UPDATE", "VERSION-CONTROL", "BASELINE-CONTROL",
	}
	// queryMethods read the resources that their body names (RFC 3253, 4791 and 5323), as
	// calendar clients do. A client that sends one needs access to the whole panel.
	queryMethods = []string{"REPORT", "SEARCH"}
)

// bodyQueries are the query parameters of requests whose body names resources: the deletion of
// many objects in S3 and Swift, the batch of Azure, the composition of Google Cloud Storage,
// and the large objects and archives of Swift. An empty string matches any value.
var bodyQueries = map[string]string{
	"delete": "", "bulk-delete": "", "comp": "batch", "compose": "", "multipart-manifest": "put", "extract-archive": "",
}

// hasMethod reports whether the request has one of the methods, or asks a framework to treat
// it as one.
func (r Request) hasMethod(methods []string) bool {
	if slices.Contains(methods, strings.ToUpper(r.Method)) {
		return true
	}
	is := func(text string) bool { return slices.Contains(methods, strings.ToUpper(strings.TrimSpace(text))) }
	for name, values := range r.Header {
		if isOverride(PlainHeader(name)) && slices.ContainsFunc(values, is) {
			return true
		}
	}
	for name, value := range r.parameters() {
		if name == "_method" && is(value) {
			return true
		}
	}
	return false
}

// parameters yields the names and values in the request's query. A parameter that can't be
// decoded has an empty name.
func (r Request) parameters() iter.Seq2[string, string] {
	_, query, _ := strings.Cut(r.Target, "?")
	return func(yield func(name, value string) bool) {
		for pair := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
			rawName, rawValue, _ := strings.Cut(pair, "=")
			name, err := url.QueryUnescape(rawName)
			value, valueErr := url.QueryUnescape(rawValue)
			if err != nil || valueErr != nil {
				name = ""
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// isTree reports whether the request concerns everything below its path. COPY, LOCK and
// PROPFIND without a Depth do (RFC 4918, sections 9.1, 9.8.3 and 9.10.3).
func (r Request) isTree() bool {
	depth := r.Header["Depth"]
	alone := len(depth) == 1 && depth[0] == "0"
	switch {
	case r.hasMethod([]string{"MOVE", "DELETE"}):
		return true
	case r.hasMethod([]string{"COPY", "LOCK"}):
		return !alone
	case r.hasMethod([]string{"PROPFIND"}):
		return !alone && !(len(depth) == 1 && depth[0] == "1")
	}
	return false
}

// namesInBody reports whether the body of the request names the resources that it concerns.
func (r Request) namesInBody() bool {
	if r.hasMethod(bodyMethods) {
		return true
	}
	path, query, _ := strings.Cut(r.Target, "?")
	if query == "" || (r.Method == http.MethodGet || r.Method == http.MethodHead) && !r.isOverridden() {
		return false
	}
	for name, value := range r.parameters() {
		if name == "" || name == "from" && strings.Contains(path, "/blobs/uploads") { // mount in a container registry
			return true
		}
		if want, ok := bodyQueries[name]; ok && (want == "" || strings.EqualFold(value, want)) {
			return true
		}
	}
	return false
}

// isOverridden reports whether some frameworks would treat the request as one with another
// method.
func (r Request) isOverridden() bool {
	if hasOverride(r.Header) {
		return true
	}
	for name := range r.parameters() {
		if name == "_method" {
			return true
		}
	}
	return false
}

// namedTargets returns the resources that the request's headers name, as targets of a request
// line. A name gives one target for each way in which a panel at origin may resolve it.
func (r Request) namedTargets(origin string) (targets []string, err error) {
	path, _, _ := strings.Cut(r.Target, "?")
	for name, values := range r.Header {
		plain := PlainHeader(name)
		if namesForeignRoot(plain) {
			return nil, ErrNamed
		}
		if !namesResource(plain) {
			continue
		}
		if len(values) != 1 {
			return nil, ErrNamed
		}
		here, err := targetsOf(values[0], path, origin)
		if err != nil {
			return nil, err
		}
		targets = append(targets, here...)
	}
	return targets, nil
}

// targetsOf returns the targets that a header's value may name in a request for path. The value
// is an absolute URL at the panel's own host, or a name relative to the root or to a folder
// above path: which folder of the panel is the root of the object store is unknown.
func targetsOf(value, path, origin string) ([]string, error) {
	scheme, rest, isURL := strings.Cut(value, "://")
	if i := strings.IndexAny(value, ":/?#"); !isURL && i >= 0 && value[i] == ':' && !strings.HasPrefix(value, "arn:") {
		return nil, ErrNamed // some servers read "http:/path" as a path of this host
	}
	if isURL && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			slash, rest = len(rest), rest+"/"
		}
		_, host, _ := strings.Cut(origin, "://")
		if !SameHost(rest[:slash], host) {
			return nil, ErrNamed
		}
		return []string{rest[slash:]}, nil
	}
	name := strings.TrimPrefix(value, "/")
	if value == "" || isURL || strings.Count(path, "/") > maxAncestors {
		return nil, ErrNamed
	}
	targets := []string{"/" + name}
	for i := 1; i <= len(path); i++ {
		if (i == len(path) || path[i] == '/') && path[i-1] != '/' {
			targets = append(targets, path[:i]+"/"+name)
		}
	}
	return targets, nil
}
