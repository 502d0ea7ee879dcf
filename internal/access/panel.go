package access

import (
	"errors"
	"fmt"
	"strings"
)

// Panel is a web application behind the gate, one origin. [NewPanel] makes one
// with rules; without rules a literal will do. It must not be changed; then any
// number of goroutines may use it.
type Panel struct {
	Origin string // as a browser writes it: https://panel.example.com
	Name   string // what pages call the panel; see [NewPanel]
	Demand Demand // where no rule matches

	// Preflights is this panel as CORS preflights find it: a path is open to them
	// where it demands nothing. nil: they are like other requests.
	Preflights *Panel

	// Shared: the portal is on this host, and its session is the visit.
	Shared bool

	// ForgetAtSignOut: at a sign-out, and when another account enters, the browser
	// drops the panel's cookies and stored data.
	ForgetAtSignOut bool

	// PercentIdentity: the identity headers are percent-encoded, so that they are ASCII
	// (RFC 9110, section 5.5). Otherwise they are UTF-8.
	PercentIdentity bool

	rules  []rule
	differ bool // some rule demands something else than the panel
}

// Rule makes a demand of its own for some paths of a panel.
type Rule struct {
	Path   string // ending in "/": whole segments below it; else exactly this path
	Demand Demand
}

// rule is a [Rule] made ready for [Panel.DemandOf].
type rule struct {
	path   string
	prefix bool
	folded string // the path as [fold] leaves it, without the last slash
	demand Demand
	less   bool // it asks for less than the panel
}

// NewPanel returns a panel with rules, of which the first that matches counts. Its name
// is its host.
// The error lists each rule whose path isn't written as it must be: from the
// root, not percent-encoded, without dot segments, doubled slashes and the
// characters that no path may have where rules differ. Written otherwise it
// would match nothing, and what it should protect would be open.
func NewPanel(origin string, d Demand, rules []Rule) (*Panel, error) {
	p := &Panel{Origin: origin, Demand: d}
	p.Name = p.Host()
	var faults []error
	for i, r := range rules {
		made, err := p.compile(r)
		if err != nil {
			faults = append(faults, fmt.Errorf("rule %d: path %q %w", i+1, r.Path, err))
			continue
		}
		p.rules = append(p.rules, made)
		p.differ = p.differ || !same(made.demand, d)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, nil
}

func (p *Panel) compile(r Rule) (rule, error) {
	less := covers(p.Demand, r.Demand) && !covers(r.Demand, p.Demand)
	all, ok := readings(r.Path)
	folded, foldable := fold(r.Path)
	switch {
	case !strings.HasPrefix(r.Path, "/"):
		return rule{}, errors.New(`must begin with "/"`)
	case strings.ContainsAny(r.Path, "%?#"):
		return rule{}, errors.New("must be written without escapes, query and fragment")
	case !ok || !foldable:
		return rule{}, errors.New("has characters that no path may have where rules differ")
	case len(all) > 1:
		return rule{}, errors.New("must be written without dot segments and doubled slashes")
	case less && !plain(r.Path):
		return rule{}, errors.New("asks for less than the panel, so it may have only characters that browsers don't escape")
	}
	return rule{
		path:   r.Path,
		prefix: strings.HasSuffix(r.Path, "/"),
		folded: strings.TrimSuffix(folded, "/"),
		demand: r.Demand,
		less:   less,
	}, nil
}

// DemandOf returns what the panel demands of a request for this path, written
// as in the request line: percent-encoded, with or without a query. ok is false
// where the answer must be no: the panel behind may read another path there
// than we do, and its rules differ (R22).
//
// The panel's own reading is unknown, so every reading counts that a chain of
// proxies and a panel may come to ([readings]), each with case and without. A
// path that is its own only reading gets the demand of the first rule that
// matches; one with several gets no rule that asks for less than the panel, and
// nothing at all unless its readings agree.
func (p *Panel) DemandOf(rawPath string) (d Demand, ok bool) {
	if !p.differ {
		return p.Demand, true // however it is read
	}
	path, _, _ := strings.Cut(rawPath, "?")
	if plain(path) {
		return p.at(path, path, true)
	}
	all, ok := readings(path)
	if !ok {
		return Demand{}, false
	}
	for i, reading := range all {
		folded, ok := fold(reading)
		if !ok {
			return Demand{}, false
		}
		here, ok := p.at(reading, folded, len(all) == 1)
		if !ok || i > 0 && !same(here, d) {
			return Demand{}, false
		}
		d = here
	}
	return d, true
}

// at returns the demand for one reading of a path; only says that there is no
// other. Rules that match without case come first, as a panel would find them
// that doesn't tell a from A; those that ask for less than the panel don't stop
// the search there. The first that matches with case ends it, for the panels
// that do tell. The strictest of what was found counts, so neither kind of panel
// is open further than its rules say.
func (p *Panel) at(path, folded string, only bool) (d Demand, ok bool) {
	found := Demand{Requirement: Public} // which every demand covers
	settled := false                     // for every panel that doesn't tell a from A
	for i := range p.rules {
		r := &p.rules[i]
		near, whole := r.near(folded)
		if !near {
			continue
		}
		if r.matches(path) && (only || !r.less) {
			return stricter(found, r.demand)
		}
		if settled {
			continue
		}
		if found, ok = stricter(found, r.demand); !ok {
			return Demand{}, false
		}
		// Of panels that are lax about more than case, each may find another
		// rule first. Letters that aren't ASCII change their length.
		settled = whole && !r.less && len(folded) == len(path) && strings.EqualFold(folded, path)
	}
	if covers(p.Demand, found) {
		return p.Demand, true
	}
	return found, true // more than the panel asks for, or something else
}

// matches reports whether the rule is for the path, with case.
func (r *rule) matches(path string) bool {
	return path == r.path || r.prefix && strings.HasPrefix(path, r.path)
}

// near reports whether a panel that is lax may take a folded path for one of the
// rule's, and whether it needs to be lax about the last slash for that or not:
// then the whole path matches. Letters of ASCII need not be folded. What matches
// is near.
func (r *rule) near(folded string) (near, whole bool) {
	n := len(r.folded)
	if len(folded) < n {
		return false, false
	}
	for i := range n {
		if lower(folded[i]) != r.folded[i] {
			return false, false
		}
	}
	rest := folded[n:]
	whole = rest == "" && !r.prefix || r.prefix && strings.HasPrefix(rest, "/")
	return whole || rest == "" || rest == "/", whole
}
