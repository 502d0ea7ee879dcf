package access

import (
	"errors"
	"fmt"
	"strings"
)

// Panel is a web application behind the gate, at one origin. [NewPanel] returns a panel with
// rules; a panel without rules may be a literal. Concurrent use is safe, since nothing may change
// a Panel once it is in use.
type Panel struct {
	Origin string // as browsers write it: https://panel.example.com
	Name   string // the name on pages; see [NewPanel]
	Demand Demand // the demand for paths that no rule matches

	// Preflights has the same paths with the demands for CORS preflights: a path is open to a
	// preflight if its demand here is [Public]. If nil, preflights are treated like other requests.
	Preflights *Panel

	// Shared means that the portal is on this panel's host, so that its session serves as
	// the visit.
	Shared bool

	// ForgetAtSignOut means that headers make the browser delete the panel's cookies and stored
	// data at a sign-out and when another account enters the panel.
	ForgetAtSignOut bool

	// PercentIdentity means that the identity headers are percent-encoded, so that they are
	// ASCII (RFC 9110, section 5.5). Otherwise they are UTF-8.
	PercentIdentity bool

	rules       []rule
	rulesDiffer bool // some rule's demand isn't equivalent to the panel's
}

// Rule is a demand for some paths of a panel.
type Rule struct {
	Path   string // if it ends with "/": the rule is for all paths below; otherwise for exactly this path
	Demand Demand
}

// rule is a [Rule] in the form that [Panel.DemandOf] compares.
type rule struct {
	path   string
	prefix bool
	folded string // the result of [fold] for the path, without the last slash
	demand Demand
	weaker bool // its demand asks for less than the panel's
}

// NewPanel returns a panel with rules. The first rule that matches a request applies. The panel's
// name is its host. The error lists each rule whose path isn't canonical. A canonical path is
// absolute and not percent-encoded, and has no dot segments, doubled slashes and characters that
// aren't allowed in paths if rules differ. A path in any other form would match no request, and the
// resource that the rule protects would be open.
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
		p.rulesDiffer = p.rulesDiffer || !areEquivalent(made.demand, d)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, nil
}

func (p *Panel) compile(r Rule) (rule, error) {
	weaker := covers(p.Demand, r.Demand) && !covers(r.Demand, p.Demand)
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
	case weaker && !isPlainPath(r.Path):
		return rule{}, errors.New("asks for less than the panel, so it may have only characters that browsers don't escape")
	}
	return rule{
		path:   r.Path,
		prefix: strings.HasSuffix(r.Path, "/"),
		folded: strings.TrimSuffix(folded, "/"),
		demand: r.Demand,
		weaker: weaker,
	}, nil
}

// DemandOf returns the demand for a path, which is written as in the request line:
// percent-encoded, with or without a query. If ok is false, the request must be refused: the
// panel may read another path there than Sallyport does, and its rules differ (R22).
//
// How the panel reads a path is unknown. DemandOf therefore considers every reading at which
// a chain of proxies and a panel may arrive (see [readings]), with and without regard to
// case. If the path itself is the only reading, the first rule that matches applies. If there
// are several readings, their demands must be equivalent, and no rule applies that asks for
// less than the panel.
func (p *Panel) DemandOf(rawPath string) (d Demand, ok bool) {
	if !p.rulesDiffer {
		return p.Demand, true // the same for every reading
	}
	path, _, _ := strings.Cut(rawPath, "?")
	if isPlainPath(path) {
		return p.demandOfReading(path, path, true)
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
		here, ok := p.demandOfReading(reading, folded, len(all) == 1)
		if !ok || i > 0 && !areEquivalent(here, d) {
			return Demand{}, false
		}
		d = here
	}
	return d, true
}

// demandOfReading returns the demand for one reading of a path. onlyReading says that the path
// has no other reading.
//
// It is unknown whether the panel ignores upper and lower case. So the result is the strictest
// demand of the rules that would apply if it does and of those that would apply if it doesn't.
// The search ends at the first rule that matches with regard to case, since that rule applies if
// the panel respects case. Among the rules before it, the search also considers those that match
// without regard to case, up to the first one that demands at least as much as the panel.
func (p *Panel) demandOfReading(path, folded string, onlyReading bool) (d Demand, ok bool) {
	found := Demand{Requirement: Public} // every demand covers it
	settled := false                     // the rule of panels that ignore case is found
	for i := range p.rules {
		r := &p.rules[i]
		may, whole := r.mayMatch(folded)
		if !may {
			continue
		}
		if r.matches(path) && (onlyReading || !r.weaker) {
			return stricter(found, r.demand)
		}
		if settled {
			continue
		}
		if found, ok = stricter(found, r.demand); !ok {
			return Demand{}, false
		}
		// A panel that ignores more than case may apply a later rule, so the search is
		// settled only if folding changed nothing but the case of ASCII letters.
		settled = whole && !r.weaker && len(folded) == len(path) && strings.EqualFold(folded, path)
	}
	if covers(p.Demand, found) {
		return p.Demand, true
	}
	return found, true // stricter than the panel's demand, or not comparable with it
}

// matches reports whether the rule applies to the path with regard to case.
func (r *rule) matches(path string) bool {
	return path == r.path || r.prefix && strings.HasPrefix(path, r.path)
}

// mayMatch reports whether a panel that compares paths in a lax way may apply the rule to a folded
// path. whole reports whether it may do so without ignoring a slash at the end. ASCII letters of
// the path need not be folded. mayMatch accepts every path that [rule.matches] accepts.
func (r *rule) mayMatch(folded string) (may, whole bool) {
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
