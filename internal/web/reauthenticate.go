package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
)

const reauthenticatePath = "/reauthenticate"

// Values of the field "ask": the proofs that the form can require instead of one code.
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
	ask       string         // the proof that the form requires; empty: one code
}

func (s signIn) reauthenticatePage(req *page.Request, form proofForm) (reauthenticatePage, error) {
	asked, err := s.Login.ReauthenticationPrompt(req.Context(), req.Me.Account, req.From)
	onlyBackupCode := req.TwoFactor && !asked.HasTOTP()
	f := s.frameOf(req, locale.Say("reauthenticate.title"), "")
	f.FewCodes = false
	data := reauthenticatePage{
		Frame: f, Username: req.Me.Account.Name, TwoFactor: req.TwoFactor, Action: form.action, InForm: form.action != reauthenticatePath,
		Carried: form.carried, Return: login.CheckReturn(form.returnURL),
		CodeLabel: codeLabel(asked.Format), Seconds: secondsOf(asked.Format),
		Two: form.ask == askTwoCodes || asked.TwoCodes, BackupCode: onlyBackupCode || form.ask == askBackupCode && asked.CodesLeft > 0,
	}
	if panel := s.panelOfReturn(data.Return); panel != nil && !data.InForm {
		data.Title, data.Panel = locale.Say("reauthenticate.title_panel", "panel", panel.Name), panel.Name
	}
	if !req.TwoFactor {
		return data, err
	}
	switch {
	case onlyBackupCode:
		return data, err
	case data.BackupCode:
		data.Ways = []proofChoice{{"", locale.Say("backup_code.use_app")}}
		return data, err
	case asked.CodesLeft > 0:
		data.Ways = []proofChoice{{askBackupCode, locale.Say("code.use_backup")}}
	}
	switch {
	case !data.Two:
		data.Ways = append(data.Ways, proofChoice{askTwoCodes, locale.Say("code.use_two")})
	case !asked.TwoCodes:
		data.Ways = append(data.Ways, proofChoice{"", locale.Say("code.use_one")})
	}
	return data, err
}

// codeLabel is like [codeTitle] but returns the label of the field for a code.
func codeLabel(f login.CodeFormat) *locale.Message {
	if len(f.Digits) != 1 {
		return locale.Say("code.code")
	}
	return locale.Say("reauthenticate.code", "n", f.Digits[0])
}

func (s signIn) getReauthenticate(req *page.Request) error {
	query := req.URL.Query()
	data, err := s.reauthenticatePage(req, proofForm{action: reauthenticatePath, returnURL: query.Get("return"), ask: query.Get("ask")})
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "reauthenticate", &data)
}

func (s signIn) postReauthenticate(req *page.Request) error {
	progress, proven, err := s.submitProofs(req, proofForm{action: reauthenticatePath, returnURL: req.ReadForm().Value("return")})
	if err != nil || !proven {
		return err
	}
	back := login.CheckReturn(progress.ReturnURL)
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

// submitProofs submits the proofs in the request's form. If they are right, the session gets a
// new token and the result proven is true. If they are wrong, submitProofs shows the form again
// with a message, and proven is false and err nil.
func (s signIn) submitProofs(req *page.Request, form proofForm) (progress login.Progress, proven bool, err error) {
	typed := req.ReadForm()
	if err := typed.Err(); err != nil {
		return login.Progress{}, false, err
	}
	given := login.Proofs{
		Password: typed.Value("password"), Code: typed.Value("code"), NextCode: typed.Value("next_code"), BackupCode: typed.Value("backup_code"),
	}
	progress, err = s.Login.Reauthenticate(req.Context(), req.Me, given, form.returnURL)
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
	data, pageErr := s.reauthenticatePage(req, form)
	if pageErr != nil {
		return login.Progress{}, false, pageErr
	}
	var wait *login.WaitError
	if data.Error = codeMessage(err); data.Error == nil {
		switch {
		case errors.As(err, &wait):
			data.Error = locale.Say("throttle.wait", "n", page.Seconds(wait.RetryAfter))
			return login.Progress{}, false, s.showTooMany(req, wait, "reauthenticate", &data)
		case errors.Is(err, login.ErrMalformedBackupCode):
			data.Error = locale.Say("backup_code.malformed")
		case errors.Is(err, login.ErrShielded):
			data.Error = locale.Say("login.shielded")
		case errors.Is(err, login.ErrEnded):
			data.Error = locale.Say("code.wrong") // attempts have ended, but not the session
		case errors.Is(err, login.ErrWrongPassword):
			data.Error = locale.Say("password.wrong")
		case errors.Is(err, login.ErrRejected):
			data.Error = locale.Say("backup_code.wrong")
		default:
			return login.Progress{}, false, err
		}
	}
	return login.Progress{}, false, s.Render(req, http.StatusUnprocessableEntity, "reauthenticate", &data)
}
