package web

import (
	"html/template"
	"time"
)

// Each page has a struct of its own; templates read nothing else. Text comes
// from the catalogue: a handler names a sentence with [say], a template with
// the function t. Times are shown with the template function when.

// message is one sentence of the catalogue with what fills its gaps.
type message struct {
	key  string
	args []any // name, value, name, value, ...
}

// say returns the sentence key of the catalogue; args are pairs of a gap's
// name and its value.
func say(key string, args ...any) *message { return &message{key, args} }

// notice is the box on top of a page: something was done or needs attention.
type notice struct {
	Kind     string // "ok", "info", "warn" or "error"
	Text     *message
	LinkURL  string // a path of the portal; may be empty
	LinkText *message
}

// frame is what every page has around its content.
type frame struct {
	Title     *message // the page's title, without the site's name
	Account   string   // name of the signed-in account; empty when nobody is
	Tab       string   // "profile", "security", "sessions", "activity", or empty: no tabs
	Notice    *notice  // may be nil
	FewCodes  bool     // the amber banner "n backup codes left" is shown
	CodesLeft int      // unused backup codes, where FewCodes is set and on the Security tab
	Clock     *message // what is wrong with the server's clock, for operators; may be nil
	Wrong     int      // wrong codes that others typed after the right password; 0: no banner
}

type homePage struct {
	frame
	Name      string // what to call the person
	TwoFactor bool   // two-factor authentication is on
	Panels    []panelLink
}

// panelLink is a panel that the account may enter.
type panelLink struct {
	URL  string
	Name string // as pages call it
	Icon string // URL path of its picture; may be empty
}

type panelLogoutPage struct {
	frame
	Panel  string // its name
	Action string // path of the panel's host
	Back   string // address of the panel
}

// continuePage leads on to an address by itself, and has a link for browsers that don't.
type continuePage struct {
	frame
	Panel string // name of the panel that the address leads to; empty: none
	URL   string // whole
}

// panelKeepPage stands at an address that is too long for a cookie.
type panelKeepPage struct {
	frame
	URL     string // where a sign-in begins that comes back to the folder
	KeptURL string // the same, once the script has kept the address
	Folder  string // where the sign-in leads without the script
}

// panelBackPage leads to the address that the script kept.
type panelBackPage struct {
	frame
	Panel string // its name
	URL   string // of the folder, where none was kept
}

// panelSignInPage fills a frame, or answers a form, where nobody is signed in.
type panelSignInPage struct {
	frame
	Panel string // its name
	URL   string // where the sign-in begins
	Form  bool   // a form was sent, and wasn't passed on
}

type panelSignedInPage struct {
	frame
	Panel  panelLink
	Script string // path of the script that tells the other tabs
}

type loginPage struct {
	frame
	ForPanel bool   // the title names a panel
	Username string // kept after a wrong answer
	Return   string // return URL, carried in a hidden field
	Error    *message
}

type codePage struct {
	frame
	Entry    string // name of the account, as in the app
	Names    string // of the authenticators, where there are several
	Two      bool   // both fields are shown
	TwoOnly  bool   // both fields are needed: a single code isn't looked at
	HasCodes bool   // unused backup codes exist
	Return   string
	Error    *message
}

type backupCodePage struct {
	frame
	Left   int // unused backup codes
	Return string
	Error  *message
}

// newPassword is what stands under the field of a new password.
type newPassword struct {
	MinLength int // in characters
	MaxLength int
	Words     string // that everybody knows of the account and the site
}

type newPasswordPage struct {
	frame
	newPassword
	Username string // for password managers
	Return   string
	Error    *message
}

type reauthenticatePage struct {
	frame
	Panel      string    // name of the panel that asks for a recent sign-in; empty: a change does
	Username   string    // for password managers, read-only
	Action     string    // path of the portal that the form is sent to
	InForm     bool      // it is another form's, proven with this one
	Carried    []carried // the other form's fields
	Return     string    // path of the portal, carried in a hidden field
	TwoFactor  bool      // a code is needed too
	Two        bool      // next_code is shown
	BackupCode bool      // ask for a backup code instead of a code
	Ways       []way     // to prove it with something else
	Error      *message
}

// way is another field that a code can be typed into.
type way struct {
	Ask  string
	Text *message
}

type profilePage struct {
	frame
	Name        string
	DisplayName string
	Max         int    // code points of a display name
	Email       string // may be empty
	Operator    bool
	Groups      []string
	CreatedAt   time.Time
	Error       *message
}

type securityPage struct {
	frame
	newPassword
	Username          string    // for password managers
	PasswordChangedAt time.Time //
	TwoFactor         bool
	TwoFactorSince    time.Time
	Authenticators    []authenticatorRow
	CodeSet           string   // names the backup codes that the form replaces
	AtLimit           bool     // no further authenticator may be added
	EnrollLocked      bool     // the wizard opens only through an operator's link
	StepsDone         int      // of the check-up's three
	PasswordAdvice    *message // why it should be changed; nil: it needn't be
	PasswordError     *message
	MaxName           int // of an authenticator, in code points
	Passes            []passRow
	SomePanel         bool // there is one to make passes for
}

type passRow struct {
	ID         string
	Name       string
	Opens      string // the panel's name, where it has one, and the address
	Methods    string // empty: all
	Addresses  string // empty: from anywhere
	ExpiresAt  time.Time
	LastUsedAt time.Time // zero: not used yet
	Expired    bool
	ByOperator bool
}

type newPassPage struct {
	frame
	Panels    []panelChoice
	Name      string
	Panel     string // origin of the chosen one
	Path      string
	Methods   string
	Addresses string
	Days      int
	Lives     []int // to choose from
	Error     *message
}

// panelChoice is a panel that a pass can be for.
type panelChoice struct {
	Origin string
	Name   string // as pages call it, with the origin where they differ
}

// passPage shows the token of a new machine pass, this once.
type passPage struct {
	frame
	Name      string
	Opens     string // as in passRow
	Methods   string // as in passRow
	Addresses string // as in passRow
	ExpiresAt time.Time
	Token     string
	Example   string // a command that uses it
}

type authenticatorRow struct {
	ID         string
	Name       string
	AddedAt    time.Time
	LastUsedAt time.Time // zero: not used yet
	Only       bool      // the only one: removing it turns two-factor authentication off
	Typed      string    // a new name that was refused
	Error      *message  // why it was
}

type newAuthenticatorPage struct {
	frame
	First bool // it turns two-factor authentication on
}

type wizardPage struct {
	frame
	First  bool   // it turns two-factor authentication on
	Owner  string // name of the account, as in the app
	ID     string
	QR     template.HTML // inline SVG, with its own white margin
	Groups []string      // the key in groups of four
	Key    string        // the key in one piece, to copy
	KeyURI template.URL  // otpauth://
	Name   string        // of the authenticator, filled in
	Max    int           // code points of a name
	Error  *message
}

type backupCodesPage struct {
	frame
	JustEnabled bool // two-factor authentication was turned on by this step
	Codes       []string
	URL         string // of the portal
	Username    string
	At          time.Time
	Download    template.URL // data: URL of the text file
	FileName    string
}

type sessionsPage struct {
	frame
	Sessions []sessionRow // this browser's first
	Others   int          // how many more than this one
	Devices  []deviceRow  // known browsers
}

type deviceRow struct {
	ID      string
	Phone   bool   // as in sessionRow
	Browser string // as in sessionRow
	Address string
	UsedAt  time.Time // the last full sign-in
	Current bool
}

// letInPage is what a let-in link opens: its button makes the browser known.
type letInPage struct {
	frame
	Ticket   string
	Username string
}

// letInLinkPage shows a let-in link, this once.
type letInLinkPage struct {
	frame
	Link string
}

type sessionRow struct {
	ID         string
	Phone      bool     // a phone or a tablet
	Browser    string   // "Chrome on Linux"; may be empty
	Address    string   //
	How        *message // "password + code"
	SignedInAt time.Time
	LastSeenAt time.Time
	Current    bool
}

type activityPage struct {
	frame
	Events []activityRow // newest first
	Older  string        // URL of the next page; empty on the last
}

type activityRow struct {
	Text    *message
	At      time.Time
	Address string
	Browser string
	Alarm   bool // something that somebody else may have done
	Backup  bool // a backup code was used
}

type setupPage struct {
	frame
	newPassword
	Ticket   string
	First    bool   // the first account, an operator
	Reset    bool   // a new password in place of a suspect one; neither: an invitation
	Username string // typed; of an invitation fixed
	Email    string
	Error    *message
}

// errorPage says what happened in its title.
type errorPage struct {
	frame
	Advice    *message // what to do
	LinkURL   string   // may be empty
	LinkText  *message
	HomeURL   string // of the panels' list, beside another link; may be empty
	SignOut   string // path that the form to sign out is sent to; empty: no form
	Reference string // stands in the log too
}
