package access

import (
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Some requests are about more than the path in their request line: WebDAV's COPY and
// MOVE have a Destination (RFC 4918, sections 9.8 and 9.9), object stores copy from what
// a header names, and some methods list what they change in their body. Where a panel's
// rules differ, or a pass opens a part of a panel, the gate holds every resource that a
// request names against them, or refuses the request where it can't see them.

// Reasons why the gate refuses a request whoever sends it. People read them, with their
// path, and so do the holders of passes.
var (
	ErrPath   = errors.New("the path can be read in more than one way, and this panel's rules are not the same for all of them")
	ErrNamed  = errors.New("a header of the request names a second resource that the gate can't check")
	ErrMixed  = errors.New("the request names resources whose rules can't be met together")
	ErrInBody = errors.New("the request names resources in its body, which the gate doesn't read, and this panel's rules differ")
)

// RefusedError is why a request is refused to everybody.
type RefusedError struct {
	Target string // path and query as in the request line
	Reason error  // one of the above
}

func (e *RefusedError) Error() string { return e.Reason.Error() }
func (e *RefusedError) Unwrap() error { return e.Reason }

// Ask is a request, as far as rules and the scopes of passes look at it.
type Ask struct {
	Method string      // as the client sent it
	Target string      // path and query as in the request line
	Header http.Header // all headers that the client sent
}

// maxAncestors bounds how many folders above a request's path a relative name may be
// meant from. Paths of WebDAV and object stores are far less deep.
const maxAncestors = 32

// DemandFor returns what the panel demands of a request: the strictest of the demands of
// all resources that it names. The error, a [*RefusedError], says why the request is
// refused to everybody.
func (p *Panel) DemandFor(a Ask) (Demand, error) {
	if !p.differ {
		return p.Demand, nil // whatever it names
	}
	d, err := p.demandFor(a)
	if err != nil {
		return Demand{}, &RefusedError{a.Target, err}
	}
	return d, nil
}

func (p *Panel) demandFor(a Ask) (Demand, error) {
	d, ok := p.DemandOf(a.Target)
	if !ok {
		return Demand{}, ErrPath
	}
	if a.namesInBody() {
		return Demand{}, ErrInBody
	}
	if a.isPlain() {
		return d, nil
	}
	targets, err := a.namedTargets(p.Origin)
	if err != nil {
		return Demand{}, err
	}
	all := append([]string{a.Target}, targets...)
	for _, target := range targets {
		there, ok := p.DemandOf(target)
		if !ok {
			return Demand{}, ErrNamed
		}
		if d, ok = stricter(d, there); !ok {
			return Demand{}, ErrMixed
		}
	}
	if a.hasMethod(queryMethods) {
		all = []string{"/"} // the body says where
	}
	if a.isTree() || a.hasMethod(queryMethods) {
		for _, target := range all {
			if d, ok = p.demandOfTree(target, d); !ok {
				return Demand{}, ErrMixed
			}
		}
	}
	return d, nil
}

// demandOfTree returns the strictest of d and the demands for all paths below target: those
// of the rules there, and the panel's own for what no rule covers. ok is false where they
// can't be compared.
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

// isPlain reports whether a request is about its path alone, as nearly all are.
func (a Ask) isPlain() bool {
	switch a.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodOptions:
	default:
		return false
	}
	if strings.Contains(a.Target, "_method") {
		return false
	}
	for name := range a.Header {
		if plain := PlainHeader(name); namesResource(plain) || namesForeignRoot(plain) || isOverride(plain) {
			return false
		}
	}
	return true
}

// namesResource reports whether a header, by its plain name, names a resource: WebDAV's
// and Swift's Destination, and what S3, Google, Azure and the stores like them copy or
// rename from.
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

// namesForeignRoot reports whether a header, by its plain name, has other names of the request
// start elsewhere, or has the resource stand for others later (Swift's large objects,
// links and versions).
func namesForeignRoot(plain string) bool {
	switch plain {
	case "Destination-Account", "X-Copy-From-Account", "X-Object-Manifest", "X-Symlink-Target-Account",
		"X-Versions-Location", "X-History-Location", "X-Ms-Source-Container-Name", "Redirect-Ref":
		return true
	}
	return false
}

var (
	// bodyMethods name what they bind, link or merge in their body, or in a header of
	// many values: RFC 5842, 4437, 2068 and 3253.
	bodyMethods = []string{
		"BIND", "REBIND", "UNBIND", "MKREDIRECTREF", "UPDATEREDIRECTREF", "LINK", "UNLINK", "MERGE", "UPDATE", "VERSION-CONTROL", "BASELINE-CONTROL",
	}
	// queryMethods read what their body names (RFC 3253, 4791 and 5323). Calendars are read
	// so; a client needs access to the whole panel to send one.
	queryMethods = []string{"REPORT", "SEARCH"}
)

// bodyQueries are parameters of requests whose body names resources: S3's and Swift's
// deletion of many objects, Azure's batch, Google's composition, Swift's large objects and
// archives. An empty string matches any value.
var bodyQueries = map[string]string{
	"delete": "", "bulk-delete": "", "comp": "batch", "compose": "", "multipart-manifest": "put", "extract-archive": "",
}

// hasMethod reports whether the request has one of the methods, or asks a framework to
// take it for one.
func (a Ask) hasMethod(methods []string) bool {
	if slices.Contains(methods, strings.ToUpper(a.Method)) {
		return true
	}
	is := func(text string) bool { return slices.Contains(methods, strings.ToUpper(strings.TrimSpace(text))) }
	for name, values := range a.Header {
		if isOverride(PlainHeader(name)) && slices.ContainsFunc(values, is) {
			return true
		}
	}
	for name, value := range a.parameters() {
		if name == "_method" && is(value) {
			return true
		}
	}
	return false
}

// parameters yields the names and values in the request's query. One that can't be read
// has an empty name.
func (a Ask) parameters() iter.Seq2[string, string] {
	_, query, _ := strings.Cut(a.Target, "?")
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

// isTree reports whether the request is about everything below its path. Without a Depth
// COPY, LOCK and PROPFIND are (RFC 4918, sections 9.1, 9.8.3 and 9.10.3).
func (a Ask) isTree() bool {
	depth := a.Header["Depth"]
	alone := len(depth) == 1 && depth[0] == "0"
	switch {
	case a.hasMethod([]string{"MOVE", "DELETE"}):
		return true
	case a.hasMethod([]string{"COPY", "LOCK"}):
		return !alone
	case a.hasMethod([]string{"PROPFIND"}):
		return !alone && !(len(depth) == 1 && depth[0] == "1")
	}
	return false
}

// namesInBody reports whether the body of the request names what it is about.
func (a Ask) namesInBody() bool {
	if a.hasMethod(bodyMethods) {
		return true
	}
	path, query, _ := strings.Cut(a.Target, "?")
	if query == "" || (a.Method == http.MethodGet || a.Method == http.MethodHead) && !a.isOverridden() {
		return false
	}
	for name, value := range a.parameters() {
		if name == "" || name == "from" && strings.Contains(path, "/blobs/uploads") { // a registry's mount
			return true
		}
		if want, ok := bodyQueries[name]; ok && (want == "" || strings.EqualFold(value, want)) {
			return true
		}
	}
	return false
}

// isOverridden reports whether some frameworks would take the request for one with another
// method.
func (a Ask) isOverridden() bool {
	if overridden(a.Header) {
		return true
	}
	for name := range a.parameters() {
		if name == "_method" {
			return true
		}
	}
	return false
}

// namedTargets returns the targets that the request's headers name, as in a request line, each
// in every way that a panel at origin may find it.
func (a Ask) namedTargets(origin string) (targets []string, err error) {
	path, _, _ := strings.Cut(a.Target, "?")
	for name, values := range a.Header {
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

// targetsOf returns the targets that a header's value may name in a request for path: that
// of a whole address at the panel's own host, or a name that counts from the root or from
// a folder above path. Where the root of an object store lies within the panel is unknown.
func targetsOf(value, path, origin string) ([]string, error) {
	scheme, rest, isURL := strings.Cut(value, "://")
	if i := strings.IndexAny(value, ":/?#"); !isURL && i >= 0 && value[i] == ':' && !strings.HasPrefix(value, "arn:") {
		return nil, ErrNamed // "http:/path" is a path of this host to some
	}
	if isURL && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			slash, rest = len(rest), rest+"/"
		}
		_, ours, _ := strings.Cut(origin, "://")
		if !SameHost(rest[:slash], ours) {
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
