package web

import (
	"embed"
	"html/template"
	"time"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/page"
)

//go:embed templates/*.html
var templates embed.FS

// Each page has its own struct, and the page's template reads nothing else. Text comes from the
// catalogue: a handler selects a sentence with [locale.Say], and a template with the method T of
// the page's frame. See package page.

type homePage struct {
	page.Frame
	Name      string // the name by which the page addresses the user
	TwoFactor bool   // two-factor authentication is on
	Panels    []panelLink
}

// panelLink is a link to a panel that the account may enter.
type panelLink struct {
	URL  string
	Name string // the panel's name
	Icon string // URL path of the panel's picture; may be empty
}

type panelLogoutPage struct {
	page.Frame
	Panel  string // the panel's name
	Action string // the path on the panel's host to which the form is submitted
	Back   string // the panel's address
}

// continuePage redirects to a URL by itself, and has a link for browsers that don't.
type continuePage struct {
	page.Frame
	Panel string // name of the panel at the URL; may be empty
	URL   string // absolute
}

// panelKeepPage is shown at a panel's address that is too long for a cookie. A script stores it.
type panelKeepPage struct {
	page.Frame
	URL     string // starts a sign-in that returns to Folder, for browsers without scripts
	KeptURL string // starts a sign-in that returns to the address that the script stored
	Folder  string // the folder of the address
}

// panelBackPage redirects to the address that the script of [panelKeepPage] stored.
type panelBackPage struct {
	page.Frame
	Panel string // the panel's name
	URL   string // the URL of the address's folder, in case no address is stored
}

// panelSignInPage answers a form, or a request of a frame, that has no session.
type panelSignInPage struct {
	page.Frame
	Panel string // the panel's name
	URL   string // starts the sign-in
	Form  bool   // the request was a form, which wasn't forwarded to the panel
}

type panelSignedInPage struct {
	page.Frame
	Panel  panelLink
	Script string // path of the script that notifies the other tabs
}

type loginPage struct {
	page.Frame
	ForPanel bool   // the title names a panel
	Username string // as typed, after a wrong password
	Return   string // return URL, in a hidden field
	Error    *locale.Message
	HasMail  bool // the portal can mail a link to users who forgot their password
	Shielded bool // the account is shielded, but a mailed link would let this browser in
}

// forgotPage has the form that requests a mail with a link to set a new password.
type forgotPage struct {
	page.Frame
	Username string // as typed
	Error    *locale.Message
}

// unlockCodePage is for the browser that asked for a mailed link to be let in. It has a field for
// the code that the link shows if it is opened in another browser.
type unlockCodePage struct {
	page.Frame
	Error *locale.Message
}

// unlockPage is the page of a link that lets a browser in.
type unlockPage struct {
	page.Frame
	Ticket   string
	Username string
	Code     string // shown in a browser that didn't ask for the link; empty in the one that did
}

// emailPage asks for a new email address.
type emailPage struct {
	page.Frame
	Present string // the present address; may be empty
	Email   string // as typed
	Error   *locale.Message
}

// confirmEmailPage is the page of a link that confirms an email address.
type confirmEmailPage struct {
	page.Frame
	Ticket   string
	Email    string
	Username string
}

// undoEmailPage is the page of a link that restores a former email address.
type undoEmailPage struct {
	page.Frame
	Ticket   string
	Username string
	Email    string // as typed
	Error    *locale.Message
}

// resetPage is the page of a mailed link that sets a new password.
type resetPage struct {
	page.Frame
	newPassword
	Ticket   string
	Username string
	Error    *locale.Message
}

type codePage struct {
	page.Frame
	Entry    string   // name of the account, as the authenticator app shows it
	Names    []string // names of the authenticators, if there are several
	Two      bool     // the page shows fields for two codes
	Seconds  int      // the longest time until an app shows the next code
	TwoOnly  bool     // both fields are required, since a single code isn't accepted
	HasCodes bool     // unused backup codes exist
	Return   string
	Error    *locale.Message
}

type backupCodePage struct {
	page.Frame
	Left   int  // number of unused backup codes
	NoTOTP bool // the account has no authenticator that shows codes
	Return string
	Error  *locale.Message
}

// newPassword is the data for the field of a new password and the hint below it.
type newPassword struct {
	MinLength int // in characters
	MaxLength int
	Words     string // public words of the account and the site, with which a password is weak
}

type newPasswordPage struct {
	page.Frame
	newPassword
	Username string // for password managers
	Return   string
	Error    *locale.Message
}

type reauthenticatePage struct {
	page.Frame
	Panel      string          // name of the panel that requires fresh proofs; empty: a change requires them
	Username   string          // for password managers, read-only
	Action     string          // the portal's path to which the form is submitted
	InForm     bool            // the proofs are submitted together with another form
	Carried    []carriedField  // the fields of that form
	Return     string          // return URL, in a hidden field
	TwoFactor  bool            // a code is required too
	CodeLabel  *locale.Message // label of the field for a single code
	Two        bool            // the field next_code is shown
	Seconds    int             // the longest time until an app shows the next code
	BackupCode bool            // a backup code is required instead of a code
	Ways       []proofChoice   // other proofs that the form can require
	Error      *locale.Message
}

// proofChoice is a button that changes which proof the form requires.
type proofChoice struct {
	Ask  string
	Text *locale.Message
}

type profilePage struct {
	page.Frame
	Name          string
	DisplayName   string
	Max           int    // maximum length of a display name, in code points
	Email         string // may be empty
	Verified      bool   // Email is known to reach the owner
	RefusedAt     time.Time
	HasMail       bool // the owner can change Email
	Role          *locale.Message
	Administrator bool
	Groups        []string
	CreatedAt     time.Time
	Error         *locale.Message
}

type securityPage struct {
	page.Frame
	newPassword
	Username          string    // for password managers
	PasswordChangedAt time.Time //
	TwoFactor         bool
	TwoFactorSince    time.Time
	Authenticators    []authenticatorRow
	CodeSet           string          // id of the current set of backup codes
	CodesUnconfirmed  bool            // the owner hasn't confirmed that the backup codes are saved
	AtLimit           bool            // the account has as many authenticators as it can have
	EnrollLocked      bool            // the wizard opens only through an operator's link
	Required          bool            // the account must keep an authenticator
	StepsDone         int             // how many of the three steps of the security check are done
	PasswordAdvice    *locale.Message // why the password should be changed; nil: it needn't be
	PasswordError     *locale.Message
	MaxName           int // maximum length of an authenticator's name, in code points
	Passes            []passRow
	SomePanel         bool // there is a panel for which passes can be issued
}

type passRow struct {
	ID         string
	Name       string
	Opens      string // what the pass opens: the panel's name, if it has one, and the address
	Methods    string // empty: all methods
	Addresses  string // from which the pass is valid; empty: any
	ExpiresAt  time.Time
	LastUsedAt time.Time // zero: not used yet
	Expired    bool
	ByOperator bool
}

type newPassPage struct {
	page.Frame
	Panels    []panelChoice
	Name      string
	Panel     string // origin of the chosen panel
	Path      string
	Methods   string
	Addresses string
	Days      int
	Lives     []int // the choices for Days
	Error     *locale.Message
}

// panelChoice is a panel for which a pass can be issued.
type panelChoice struct {
	Origin string
	Name   string // the panel's name if it has one, and the origin
}

// passPage shows the token of a new machine pass. No other page shows it.
type passPage struct {
	page.Frame
	Name      string
	Opens     string // as in passRow
	Methods   string // as in passRow
	Addresses string // as in passRow
	ExpiresAt time.Time
	Token     string
	Example   string // a command that uses the token
}

type authenticatorRow struct {
	ID         string
	Name       string
	AddedAt    time.Time
	LastUsedAt time.Time       // zero: not used yet
	Only       bool            // the account's only authenticator: removing it disables two-factor authentication
	Typed      string          // a new name that was refused
	Error      *locale.Message // why the new name was refused
}

type newAuthenticatorPage struct {
	page.Frame
	First     bool // the enrolment enables two-factor authentication
	Required  bool // nothing else is open to the account until it has two-factor authentication
	NeedsLink bool // the wizard opens only through an operator's link
}

// reminderPage asks the user, after a sign-in, to enable two-factor authentication.
type reminderPage struct {
	page.Frame
	From      time.Time // the day from which that is required, in the site's time zone; zero: it is only recommended
	NeedsLink bool      // the wizard opens only through an operator's link
}

type wizardPage struct {
	page.Frame
	First  bool   // the enrolment enables two-factor authentication
	Owner  string // name of the account, as the authenticator app shows it
	ID     string
	QR     template.HTML // inline SVG, with its own white margin
	Groups []string      // the key in groups of four characters
	Key    string        // the key in one piece, to copy
	KeyURI template.URL  // otpauth://
	Name   string        // value of the field for the authenticator's name
	Max    int           // maximum length of a name, in code points
	Error  *locale.Message
}

type backupCodesPage struct {
	page.Frame
	JustEnabled bool      // this step enabled two-factor authentication
	Passes      []passRow // machine passes that still work
	CodeSet     string
	Codes       []string
	URL         string // of the portal
	Username    string
	At          time.Time
	Download    template.URL // data: URL of the text file
	FileName    string
}

type sessionsPage struct {
	page.Frame
	Sessions []sessionRow // this browser's session first
	Others   int          // number of the other sessions
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

// letInPage is the page of a let-in link. Its button makes the browser known.
type letInPage struct {
	page.Frame
	Ticket   string
	AsksName bool
	Username string // the account's name; if AsksName is set, the name as typed
	Error    *locale.Message
}

// letInLinkPage shows a new let-in link. No other page shows it.
type letInLinkPage struct {
	page.Frame
	Link string
}

type sessionRow struct {
	ID         string
	Phone      bool            // a phone or a tablet
	Browser    string          // "Chrome on Linux"; may be empty
	Address    string          //
	How        *locale.Message // "password + code"
	SignedInAt time.Time
	LastSeenAt time.Time
	Current    bool
}

type activityPage struct {
	page.Frame
	Days  []activityDay // newest first
	Older string        // URL of the next page; empty on the last page
}

// activityDay has the events of one day in UTC.
type activityDay struct {
	At     time.Time     // time of the newest event
	Events []activityRow // newest first, at least one
}

type activityRow struct {
	Text    *locale.Message
	At      time.Time
	Address string
	Browser string
	Alarm   bool // an attacker may have caused the event
	Backup  bool // a backup code was used
}

type setupPage struct {
	page.Frame
	newPassword
	Ticket   string
	First    bool   // the link creates the first account, an operator's
	Reset    bool   // the link replaces a suspect password; if neither First nor Reset: an invitation
	Username string // as typed, if First; otherwise the account's name
	Email    string
	Error    *locale.Message
}
