package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
)

const reauthenticatePath = "/reauthenticate"

// The proofs that the form can require instead of one code; values of the field ask.
const (
	askTwoCodes   = "two"
	askBackupCode = "backup"
)

// proofForm is a form that requires proofs: that of /reauthenticate, or another form with
// fields for proofs added.
type proofForm struct {
	action    string
	returnURL string
	carried   []carriedField // the fields of the other form
	ask       string         // the proof to require; "": one code
}

func (s *server) reauthenticatePage(req *request, form proofForm) (reauthenticatePage, error) {
	asked, err := s.Login.ReauthenticationPrompt(req.Context(), req.me.Account, req.from)
	f := s.frameOf(req, locale.Say("reauthenticate.title"), "")
	f.FewCodes = false
	page := reauthenticatePage{
		Frame: f, Username: req.me.Account.Name, TwoFactor: req.twoFactor, Action: form.action, InForm: form.action != reauthenticatePath,
		Carried: form.carried, Return: login.CheckReturn(form.returnURL),
		Two: form.ask == askTwoCodes || asked.TwoCodes, BackupCode: form.ask == askBackupCode && asked.CodesLeft > 0,
	}
	if panel := s.panelOfReturn(page.Return); panel != nil && !page.InForm {
		page.Title, page.Panel = locale.Say("reauthenticate.title_panel", "panel", panel.Name), panel.Name
	}
	if !req.twoFactor {
		return page, err
	}
	switch {
	case page.BackupCode:
		page.Ways = []proofChoice{{"", locale.Say("backup_code.use_app")}}
		return page, err
	case asked.CodesLeft > 0:
		page.Ways = []proofChoice{{askBackupCode, locale.Say("code.use_backup")}}
	}
	switch {
	case !page.Two:
		page.Ways = append(page.Ways, proofChoice{askTwoCodes, locale.Say("code.use_two")})
	case !asked.TwoCodes:
		page.Ways = append(page.Ways, proofChoice{"", locale.Say("code.use_one")})
	}
	return page, err
}

func (s *server) getReauthenticate(req *request) error {
	query := req.URL.Query()
	page, err := s.reauthenticatePage(req, proofForm{action: reauthenticatePath, returnURL: query.Get("return"), ask: query.Get("ask")})
	if err != nil {
		return err
	}
	return s.views.Render(req.w, http.StatusOK, "reauthenticate", &page)
}

func (s *server) postReauthenticate(req *request) error {
	back, err := req.field("return")
	if err != nil {
		return err
	}
	progress, proven, err := s.submitProofs(req, proofForm{action: reauthenticatePath, returnURL: back})
	if err != nil || !proven {
		return err
	}
	back = login.CheckReturn(progress.ReturnURL)
	switch tab, _, isForm := strings.Cut(back, "#"); {
	case isForm:
		s.redirectWithSession(req, progress.Session, back, "notice", "confirmed_form")
	case strings.HasPrefix(tab, "/settings/") && strings.Count(tab, "/") == 2:
		s.redirectWithSession(req, progress.Session, back, "notice", "confirmed")
	default: // a page that needs no notice
		s.redirectWithSession(req, progress.Session, back)
	}
	return nil
}

// submitProofs submits the proofs in the request's form, after which the session has a new
// token. If proven is false and err is nil, it has shown the form again with the error.
func (s *server) submitProofs(req *request, form proofForm) (progress login.Progress, proven bool, err error) {
	f, err := req.fields("password", "code", "next_code", "backup_code")
	if err != nil {
		return login.Progress{}, false, err
	}
	given := login.Proofs{Password: f[0], Code: f[1], NextCode: f[2], BackupCode: f[3]}
	progress, err = s.Login.Reauthenticate(req.Context(), req.me, given, form.returnURL)
	s.logOutcome(req, "reauthenticate", progress, form.returnURL, err)
	if err == nil {
		return progress, true, nil
	}
	switch {
	case given.NextCode != "":
		form.ask = askTwoCodes
	case given.BackupCode != "":
		form.ask = askBackupCode
	}
	page, pageErr := s.reauthenticatePage(req, form)
	if pageErr != nil {
		return login.Progress{}, false, pageErr
	}
	var wait *login.WaitError
	if page.Error = codeMessage(err); page.Error == nil {
		switch {
		case errors.As(err, &wait):
			page.Error = locale.Say("throttle.wait", "n", seconds(wait.RetryAfter))
			return login.Progress{}, false, s.showTooMany(req, wait, "reauthenticate", &page)
		case errors.Is(err, login.ErrMalformedBackupCode):
			page.Error = locale.Say("backup_code.malformed")
		case errors.Is(err, login.ErrShielded):
			page.Error = locale.Say("login.shielded")
		case errors.Is(err, login.ErrEnded):
			page.Error = locale.Say("code.wrong") // the session doesn't end
		case errors.Is(err, login.ErrWrongPassword):
			page.Error = locale.Say("password.wrong")
		case errors.Is(err, login.ErrRejected):
			page.Error = locale.Say("backup_code.wrong")
		default:
			return login.Progress{}, false, err
		}
	}
	return login.Progress{}, false, s.views.Render(req.w, http.StatusUnprocessableEntity, "reauthenticate", &page)
}
