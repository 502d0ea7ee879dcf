package page

import (
	"context"
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

// Request is a request with its answer and its session.
type Request struct {
	*http.Request
	W         http.ResponseWriter
	From      login.Browser
	Catalogue *locale.Catalogue // has the text of the answer

	// Me is the signed-in account and its session. Without a session, Me.Session.ID is empty.
	Me login.Me

	// Set if the route requires a session:
	TwoFactor bool          // the account has a second authenticator
	CodesLeft int           // unused backup codes
	Policy    policy.Policy // what the configuration asks of the account
	Wrong     int           // wrong codes that others typed after the correct password

	form     *Form // of the first ReadForm
	hasAdmin bool  // as in [SiteOptions]
}

// NewRequest returns a request without a session. Its address is the client's, as the trusted
// proxies report it.
func (s *Site) NewRequest(w http.ResponseWriter, r *http.Request) *Request {
	address, unreadable := s.TrustedProxies.ReadForwardedFor(r)
	if unreadable != "" {
		s.unreadable.Do(func() {
			s.Log.Warn("a trusted proxy sends something in X-Forwarded-For that isn't an address, so all its clients count as one network; correct the proxy",
				"proxy", address.String(), "value", Clean(unreadable))
		})
	}
	from := login.Browser{
		Address: address, UserAgent: Clean(r.UserAgent()), Device: s.Cookie(r, DeviceCookie), Session: s.Cookie(r, SessionCookie),
	}
	return &Request{Request: r, W: w, From: from, Catalogue: s.catalogue, hasAdmin: s.HasAdmin}
}

// IsSignedIn reports whether the request has a session.
func (r *Request) IsSignedIn() bool { return r.Me.Session.ID != "" }

// Text returns the text of m in the language of the answer.
func (r *Request) Text(m *locale.Message) string { return r.Catalogue.Sentence(m) }

// FewCodes is the number of unused backup codes at which pages remind the user to create new
// ones.
const FewCodes = 3

// Frame returns the frame of a page, with what the request says about the signed-in account. tab
// is the tab of the page, or "".
func (r *Request) Frame(title *locale.Message, tab string) Frame {
	f := Frame{Title: title, Tab: tab}
	if r.IsSignedIn() {
		f.Account = r.Me.Account.ShownName()
		f.Admin = r.hasAdmin && r.Me.Account.Role != account.Member
		f.CodesLeft = r.CodesLeft
		f.FewCodes = r.TwoFactor && r.CodesLeft <= FewCodes
		f.Wrong = r.Wrong
	}
	return f
}

// ReadSession reads the request's session and its account into r.Me. Without a valid session, r.Me
// stays as it is, and IsSignedIn returns false.
func (r *Request) ReadSession(l *login.Service) error {
	held, owner, err := session.ByToken(r.Context(), l.DB.Reader(), r.From.Session, l.Life, l.Clock())
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err == nil {
		r.Me = login.Me{Session: held, Account: owner, From: r.From}
	}
	return err
}

// ReadSecondFactor reads what pages show about the second factor of r.Me.
func (r *Request) ReadSecondFactor(l *login.Service) (err error) {
	if r.TwoFactor, r.CodesLeft, err = l.SecondFactor(r.Context(), r.Me.Account); err != nil || !r.TwoFactor {
		return err
	}
	r.Wrong, err = l.WrongCodes(r.Context(), r.Me.Account)
	return err
}

// ID returns the id in the request's path, or "" if the path has no valid id. No row has the id "",
// so a look-up then finds nothing.
func (r *Request) ID() string {
	if id := r.PathValue("id"); secret.IsID(id) {
		return id
	}
	return ""
}

// maxLogged is the maximum length, in bytes, of text from requests that is stored or logged.
const maxLogged = 300

// Clean returns text from a request in a form that is safe to store and log; see [audit.Clean].
func Clean(text string) string { return audit.Clean(text, maxLogged) }

type referenceKey struct{}

// withReference adds a random id to the context. The log and error pages contain it, so that an
// operator can find the log line for an error page.
func withReference(ctx context.Context) context.Context {
	return context.WithValue(ctx, referenceKey{}, secret.NewID()[:12])
}

// Reference returns the random id of a request.
func Reference(r *http.Request) string {
	id, _ := r.Context().Value(referenceKey{}).(string)
	return id
}

// statusRecorder records the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusRecorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap implements the interface of [http.ResponseController], which [http.MaxBytesReader] uses.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
