package upgrade

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// addOwner adds an account by a command beside the running portal.
func (l *load) addOwner() (*sallyport.Owner, error) {
	o := &sallyport.Owner{Name: fmt.Sprint("ada", l.accounts.Add(1))}
	_, err := l.operator.Load().Run(portal.Password, "account", "add", o.Name, "--password-stdin")
	return o, err
}

// enterRadio opens the gateway's panel in a new browser and signs in on the way, with the
// password alone.
func (l *load) enterRadio(o *sallyport.Owner) (*sallyport.Visitor, error) {
	v := l.Visitor()
	a, err := v.Walk(radioPage)
	if err != nil {
		return v, err
	}
	leadsOn := func(a portal.Answer) bool { return a.Status == http.StatusSeeOther }
	a, err = v.Post(leadsOn, "/login", "username", o.Name, "password", portal.Password, "return", portal.FieldOf(a.Body, "return"))
	if err == nil {
		a, err = v.Walk(a.Location)
	}
	if err == nil {
		err = expect(radioPage, a, isPanels(a, o.Name))
	}
	return v, err
}

// isPanels reports whether an answer is the panel's answer to a request by this user.
func isPanels(a portal.Answer, name string) bool {
	return a.Status == http.StatusOK && strings.Contains(a.Body, `"Remote-User":["`+name+`"]`)
}

// enterPanels opens both panels in a browser that is signed in with two factors.
func enterPanels(v *sallyport.Visitor, o *sallyport.Owner) error {
	a, err := v.Walk(radioPage)
	if err == nil {
		err = expect(radioPage, a, isPanels(a, o.Name))
	}
	// No proxy serves video, so the visitor stops where one would pass the request on.
	page := panels.Video + "/.sallyport/start?return=" + videoPath
	for !strings.HasPrefix(page, panels.Video+videoPath) {
		if err != nil {
			return err
		}
		if a, err = v.Send(http.MethodGet, page); err == nil {
			_, refresh, _ := strings.Cut(a.Header.Get("Refresh"), "url=")
			err = expect(page, a, a.Location != "" || refresh != "")
			page = cmp.Or(a.Location, refresh)
		}
	}
	return err
}

// useRadio requests the gateway's panel with a visit, as a script does.
func useRadio(v *sallyport.Visitor, o *sallyport.Owner) error {
	a, err := v.Request(http.MethodGet, radioPage, nil, nil)
	if err != nil {
		return err
	}
	return expect(radioPage, a, isPanels(a, o.Name))
}

// verifyVideo asks about a request to the other panel with a visit, as nginx does.
func verifyVideo(v *sallyport.Visitor, o *sallyport.Owner) error {
	address, header := panels.VerifyRequest("nginx", videoPath)
	header.Set("Cookie", "sallyport-visit="+v.CookieAt(panels.Video, "sallyport-visit"))
	a, err := v.Request(http.MethodGet, address, nil, header)
	if err != nil {
		return err
	}
	return expect(address, a, a.Status == http.StatusOK && a.Header.Get("Remote-User") == o.Name)
}

// openPages opens pages of the portal, which need a session.
func openPages(v *sallyport.Visitor) error {
	for _, page := range []string{"/", "/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
		a, err := v.Send(http.MethodGet, page)
		if err == nil {
			err = expect(page, a, a.Status == http.StatusOK)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reauthenticate reauthenticates the owner, with a backup code if one is given. The session gets
// a new token.
func reauthenticate(v *sallyport.Visitor, backupCode string) error {
	before := v.CookieAt(panels.PortalAt, portal.SessionCookie)
	fields := []string{"password", portal.Password, "return", "/settings/security"}
	if backupCode != "" {
		fields = append(fields, "backup_code", backupCode)
	}
	a, err := v.Post(portal.LeadsTo("/settings/security"), "/reauthenticate", fields...)
	if err == nil && v.CookieAt(panels.PortalAt, portal.SessionCookie) == before {
		err = expect("/reauthenticate", a, false)
	}
	return err
}

// usePass requests the gateway's panel with a machine pass.
func (l *load) usePass(token, name string) error {
	a, err := l.Visitor().Request(http.MethodGet, radioPage, nil, panels.AsHeader(token))
	if err != nil {
		return err
	}
	return expect(radioPage+" with a machine pass", a, isPanels(a, name))
}

// journey is what a new owner does: sign in, enroll, sign in with a code, use both panels,
// prove more, make a machine pass, and sign out. With races, two browsers submit the code at
// the same time, and used codes are submitted again.
func (l *load) journey(races bool) error {
	o, err := l.addOwner()
	if err != nil {
		return err
	}
	first, err := l.enterRadio(o)
	if err != nil {
		return err
	}
	if err := first.Enroll(o); err != nil {
		return err
	}
	if err := enterPanels(first, o); err != nil {
		return err
	}
	code, backup := sallyport.Credential{Code: o.CodeNow()}, sallyport.Credential{Backup: true, Code: o.Unused[0]}
	v, err := l.signIn(o, code, races)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return enterPanels(v, o) },
		func() error { return verifyVideo(v, o) },
		func() error { return reauthenticate(v, backup.Code) },
		func() error { return l.passAndSignOut(v, o) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	if !races {
		return nil
	}
	for _, used := range []sallyport.Credential{code, backup} {
		outcomes, err := l.submit(o, used, 1)
		if err != nil {
			return err
		}
		if outcomes[0].signedIn {
			return fmt.Errorf("a used code of %s was accepted again", o.Name)
		}
	}
	return nil
}
