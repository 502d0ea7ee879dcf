package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// mostPanels is how many panels the list of panels can show clearly.
	mostPanels = 64

	// shortestAnswer and longestAnswer bound answer_within. A busy panel may take a second to
	// answer.
	shortestAnswer = Duration(time.Second)
	longestAnswer  = Duration(day)

	// mostRules limits the time of a request to a panel, which tries one rule after
	// another.
	mostRules = 100

	// shortestAge is the least max_age. With less, a user's proofs could be too old before
	// the panel's page is shown.
	shortestAge = Duration(time.Minute)

	// maxRulePath is the greatest length of a rule's path, in bytes. A sign-in carries only
	// that much of a page's path, from which it finds what the panel demands there.
	maxRulePath = 500

	// maxGroupRunes is the greatest length of a group's name, the same as in package account.
	maxGroupRunes = 64

	// gatePath is the prefix of Sallyport's own paths on a panel's host.
	gatePath = "/.sallyport/"

	// pathSigns are the characters that a path may contain unencoded (RFC 3986, section
	// 3.3), except ";", at which some panels cut paths, and "*".
	pathSigns = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~!$&'()+,=:@"
)

// checkPanels sets the defaults of c.Panels and adds their faults.
func checkPanels(c Config, isSet func(key string) bool, fault func(err error, keys ...string)) {
	if len(c.Panels) > mostPanels {
		fault(fmt.Errorf("has %d items; at most %d are allowed", len(c.Panels), mostPanels), "panels")
		return
	}
	if c.SharedHost {
		checkShared(c, fault)
	}
	for i := range c.Panels {
		p, key := &c.Panels[i], fmt.Sprintf("panels[%d]", i)
		if p.URL == (Origin{}) {
			fault(errors.New("url must be set, such as https://panel.example.com; if this line belongs to the panel above, remove its dash"), key+".url", key)
		} else {
			checkURL(c, i, fault)
		}
		if isSet(key + ".name") {
			fault(checkPanelName(c.Panels, i), key+".name", key)
		}
		fault(checkPicture(p.Icon), key+".icon", key)
		checkUpstream(c, i, fault)
		checkUpstreamSettings(*p, key, isSet, fault)
		if p.Require == RequireNothing {
			fault(errors.New("with nothing the whole panel would be open; write session or two_factor, and open single paths by rules"), key+".require", key)
		}
		if p.Require == "" {
			p.Require = RequireSession
		}
		checkLimits(key, p.MaxAge, p.Groups, isSet, fault)
		checkRules(key+".rules", p.Rules, isSet, fault)
	}
}

// withUpstream returns c with the settings that upstream stands for: shared_host and a panel.
func withUpstream(c Config, fault func(err error, keys ...string)) Config {
	if c.Upstream == (Upstream{}) {
		return c
	}
	if len(c.Panels) > 0 {
		fault(errors.New("declares one panel on the portal's host, but panels declares some too; move it below the panel there, and set shared_host: true"), "upstream", "panels")
		return c
	}
	c.SharedHost = true
	c.Panels = []Panel{{URL: c.PublicURL, Upstream: c.Upstream}}
	return c
}

// checkShared adds the faults of shared_host.
func checkShared(c Config, fault func(err error, keys ...string)) {
	if len(c.Panels) != 1 {
		fault(fmt.Errorf("is for a single panel, but %d are declared; give the portal a host name of its own in public_url", len(c.Panels)), "shared_host", "panels")
		return
	}
	p := c.Panels[0]
	if p.URL != (Origin{}) && c.PublicURL != (Origin{}) && p.URL != c.PublicURL {
		fault(fmt.Errorf("%s isn't public_url (%s), and with shared_host the portal is below %s of the panel's host; write the same in both", p.URL, c.PublicURL, gatePath), "panels[0].url", "public_url", "shared_host")
	}
	if p.Upstream == (Upstream{}) {
		fault(errors.New("upstream must be set with shared_host: only our own gateway keeps the portal's cookies from the panel"), "panels[0]", "shared_host")
	}
}

// checkPanelName returns an error if the name of panel i can't be shown, or is the name or
// host of another panel: users couldn't know for which of them they sign in.
func checkPanelName(panels []Panel, i int) error {
	name := panels[i].Name
	if err := checkName(name); err != nil {
		return err
	}
	for j, other := range panels {
		switch {
		case j == i:
		case j < i && strings.EqualFold(name, other.Name):
			return fmt.Errorf("%s is the name of panels[%d] too; choose another one", quote(name), j)
		case strings.EqualFold(name, other.URL.Host), strings.EqualFold(name, other.URL.Hostname()):
			return fmt.Errorf("%s is the host of panels[%d]; choose another name", quote(name), j)
		}
	}
	return nil
}

// checkURL adds faults if panel i shares a host, and so cookies, with the portal or an
// earlier panel, or if one of portal and panel uses http and the other https.
func checkURL(c Config, i int, fault func(err error, keys ...string)) {
	origin, key := c.Panels[i].URL, fmt.Sprintf("panels[%d]", i)
	portal := c.PublicURL
	if portal != (Origin{}) && !c.SharedHost {
		keys := []string{key + ".url", "public_url", "listen", key}
		switch {
		case origin.Hostname() == portal.Hostname():
			fault(sharedHostFault(origin, portal, "public_url"), keys...)
			return
		case origin.Scheme == "https" && portal.Scheme == "http":
			fault(fmt.Errorf("%s is https, but public_url (%s) isn't: anybody who can listen on the way to the portal could open this panel too; make public_url https as well", origin, portal), keys...)
		case origin.Scheme == "http" && portal.Scheme == "https" && !origin.IsLoopback():
			// The panel's cookie would lack the attribute Secure. An attacker on
			// the network path could read it and enter without password and code.
			fault(fmt.Errorf("%s is http, but public_url is https: anybody who can listen on the way could take the cookie that opens the panel; write https here; only upstream may be http", origin), keys...)
		}
	}
	for j, other := range c.Panels[:i] {
		if other.URL != (Origin{}) && origin.Hostname() == other.URL.Hostname() {
			otherKey := fmt.Sprintf("panels[%d]", j)
			fault(sharedHostFault(origin, other.URL, otherKey+".url"), key+".url", otherKey+".url", key, otherKey)
			return
		}
	}
}

func sharedHostFault(origin, other Origin, otherKey string) error {
	if origin == other {
		return fmt.Errorf("%s is the same as %s, so they would share all cookies; give it a host name of its own", origin, otherKey)
	}
	return fmt.Errorf("%s has the host name of %s (%s), and cookies ignore ports and schemes, so each would get the other's; give it a host name of its own", origin, otherKey, other)
}

// checkUpstream adds a fault if the upstream of panel i leads back to Sallyport.
func checkUpstream(c Config, i int, fault func(err error, keys ...string)) {
	up, key := Origin(c.Panels[i].Upstream), fmt.Sprintf("panels[%d]", i)
	if up == (Origin{}) {
		return
	}
	host, port, err := splitListen(c.Listen)
	switch {
	case up == c.Panels[i].URL:
		fault(fmt.Errorf("%s is the panel's url, where the gate answers; name the panel's own server", up), key+".upstream", key+".url", "upstream", key)
	case up == c.PublicURL || err == nil && up.reaches(host, port):
		fault(fmt.Errorf("%s is the portal itself; name the panel's own server", up), key+".upstream", "upstream", "listen", "public_url", key)
	}
}

// checkUpstreamSettings adds faults for settings of the gateway that have no effect, or that
// contradict each other.
func checkUpstreamSettings(p Panel, key string, isSet func(key string) bool, fault func(err error, keys ...string)) {
	for _, name := range []string{".upstream_ca", ".upstream_name", ".upstream_fingerprint", ".answer_within", ".websockets"} {
		if isSet(key+name) && p.Upstream == (Upstream{}) {
			fault(errors.New("has no effect without upstream: your proxy has a setting of its own for it; delete the line"), key+name, key)
		} else if isSet(key+name) && strings.HasPrefix(name, ".upstream") && p.Upstream.Scheme != "https" {
			fault(fmt.Errorf("is about a certificate, and upstream (%s) has none; write https there, or delete the line", p.Upstream), key+name, key+".upstream")
		}
	}
	if p.UpstreamFingerprint != "" && (p.UpstreamCA != "" || p.UpstreamName != "") {
		fault(errors.New("names the only certificate that is accepted, so upstream_ca and upstream_name have no effect; keep either it or them"), key+".upstream_fingerprint", key+".upstream_ca", key+".upstream_name")
	}
	if p.UpstreamCA != "" {
		fault(checkFile(p.UpstreamCA), key+".upstream_ca")
	}
	if name := p.UpstreamName; name != "" && strings.ToLower(strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")) != "" {
		fault(fmt.Errorf("%s isn't a host name", quote(name)), key+".upstream_name")
	}
	if isSet(key+".answer_within") && (p.AnswerWithin < shortestAnswer || p.AnswerWithin > longestAnswer) {
		fault(fmt.Errorf("%s is outside 1s to 1d", p.AnswerWithin), key+".answer_within")
	}
}

func checkRules(list string, rules []Rule, isSet func(key string) bool, fault func(err error, keys ...string)) {
	if len(rules) > mostRules {
		fault(fmt.Errorf("has %d items; at most %d are allowed", len(rules), mostRules), list)
		return
	}
	for i, r := range rules {
		key := fmt.Sprintf("%s[%d]", list, i)
		err := checkPath(r.Path)
		for j := 0; j < i && err == nil; j++ {
			err = checkOrder(rules[j].Path, r.Path, j)
		}
		fault(err, key+".path", key)
		if r.Require == "" {
			fault(errors.New("require must be set: nothing, session or two_factor"), key+".require", key)
		}
		if r.Require == RequireNothing {
			for _, name := range []string{".groups", ".max_age", ".preflight"} {
				if isSet(key + name) {
					fault(errors.New("has no effect beside require: nothing; delete the line, or write session there"), key+name, key+".require")
				}
			}
			continue
		}
		checkLimits(key, r.MaxAge, r.Groups, isSet, fault)
	}
}

// checkPath returns an error for a path that panels may accept in another spelling too. A rule
// wouldn't match that spelling.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("path must be set, such as /status/")
	case len(path) > maxRulePath:
		return fmt.Errorf("%s… has %d bytes; at most %d are allowed", quote(path[:20]), len(path), maxRulePath)
	case path[0] != '/':
		return fmt.Errorf("%s doesn't begin with /", quote(path))
	case strings.Contains(path, "*"):
		return fmt.Errorf("%s has a *, which isn't a wildcard here; a path that ends in / covers everything below it", quote(path))
	case strings.ContainsAny(path, "?#"):
		return fmt.Errorf("%s has a query or fragment, and rules see paths only; leave it out", quote(path))
	case strings.Trim(path, pathSigns) != "":
		return fmt.Errorf("%s contains characters that panels read in more than one way; use letters a to z, digits and / - . _ ~ ! $ & ' ( ) + , = : @, or name the folder above", quote(path))
	case strings.Contains(path, "//"):
		return fmt.Errorf("%s has a double slash, which panels may read as a single one; write a single one", quote(path))
	case strings.HasPrefix(strings.ToLower(path)+"/", gatePath):
		return fmt.Errorf("%s belongs to the gate, which applies no rules there; delete the rule", quote(path))
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("%s has the segment %s, which panels resolve; write the path it leads to", quote(path), segment)
		}
	}
	return nil
}

// checkOrder returns an error if a later rule with the given path would never apply, because the
// path of rule i, called earlier here, covers it.
func checkOrder(earlier, path string, i int) error {
	switch {
	case path == earlier:
		return fmt.Errorf("%s is the path of rules[%d] too; keep one", quote(path), i)
	case strings.HasSuffix(earlier, "/") && strings.HasPrefix(path, earlier):
		return fmt.Errorf("%s never applies, since rules[%d] (%s) comes first; move it before that rule", quote(path), i, quote(earlier))
	}
	return nil
}

// checkLimits adds the faults of max_age and groups of the panel or rule at key.
func checkLimits(key string, age Duration, groups []string, isSet func(key string) bool, fault func(err error, keys ...string)) {
	if isSet(key+".max_age") && age < shortestAge {
		fault(fmt.Errorf("%s is shorter than a minute", age), key+".max_age")
	}
	list := key + ".groups"
	if isSet(list) && len(groups) == 0 { // ambiguous: it could mean no account or every account
		fault(errors.New("names no group; name at least one, or delete the line"), list)
	}
	seen := map[string]bool{}
	for i, name := range groups {
		err := checkGroup(name)
		if err == nil && seen[name] {
			err = fmt.Errorf("%s is listed twice; delete one", quote(name))
		}
		seen[name] = true
		fault(err, fmt.Sprintf("%s[%d]", list, i), list)
	}
}

// checkGroup returns an error unless name follows the rule of package account for names of
// groups.
func checkGroup(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxGroupRunes || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
		}) {
		return fmt.Errorf("%s isn't a group name; use 1 to %d letters, digits and . - _", quote(name), maxGroupRunes)
	}
	return nil
}
