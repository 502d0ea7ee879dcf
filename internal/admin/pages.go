package admin

import (
	"time"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/page"
)

// The tabs of the pages; see [page.Frame].
const tabAccounts = "admin-accounts"

type accountsPage struct {
	page.Frame
	Query    string // as typed
	Filter   string // of the list, as in the query
	Filters  []filterLink
	Accounts []accountRow
	Next     string // URL of the next page; empty on the last
	First    string // URL of the first page; empty on it
}

// filterLink leads to the accounts that a filter selects.
type filterLink struct {
	Text    *locale.Message
	URL     string
	Current bool
}

// accountRow is an account in the list.
type accountRow struct {
	ID        string
	Name      string
	Display   string // display name; may be empty
	Email     string // may be empty
	Groups    []string
	Role      *locale.Message // nil for members
	TwoFactor bool
	Disabled  bool
	Invited   bool // no password was chosen yet
}

type accountPage struct {
	page.Frame
	ID             string
	Name           string
	Display        string // may be empty
	Email          string // may be empty
	Verified       bool   // Email is known to reach the owner
	Refused        bool   // the mail server refused Email
	Role           *locale.Message
	Groups         []string
	CreatedAt      time.Time
	DisabledAt     time.Time // zero if enabled
	PasswordAt     time.Time // when the password was set; zero: invited, none was chosen yet
	TwoFactor      bool
	TwoFactorSince time.Time
	CodesLeft      int               // unused backup codes
	Limits         []*locale.Message // what the wrong tries of the account lead to
	Self           bool              // the account is that of the session
	Authenticators []authenticatorRow
	Sessions       []browserRow
	Devices        []browserRow
	Events         []eventRow
	Older          string // URL of older events; empty if there are none
	Actions        []actionLink
}

type authenticatorRow struct {
	Name       string
	AddedAt    time.Time
	LastUsedAt time.Time // zero: not used yet
}

// browserRow is a session or a known browser.
type browserRow struct {
	Phone   bool   // a phone or a tablet
	Browser string // "Chrome on Linux"; may be empty
	Address string
	How     *locale.Message // of a session: "password + code"
	At      time.Time       // of the sign-in
	UsedAt  time.Time
}

type eventRow struct {
	Text    *locale.Message
	Actor   *locale.Message // nil: the owner
	Reason  string          // of an administrator; may be empty
	At      time.Time
	Browser string
	Address string
	Alarm   bool // an attacker may have caused the event
}

// actionLink leads to the page of an action that the session's account may take.
type actionLink struct {
	Text   *locale.Message
	URL    string
	Danger bool
}

// actionPage asks for the reason of a change of an account.
type actionPage struct {
	page.Frame
	Heading   *locale.Message
	Means     *locale.Message
	Told      bool   // the owner gets a mail about the change
	Name      string // of the account
	URL       string // to which the form is submitted
	Back      string // the account's page
	Danger    bool
	Roles     []roleChoice // on the page that changes the role; otherwise empty
	AsksName  bool         // the account's name must be typed
	Typed     string       // the name as typed
	Reason    string       // as typed
	MaxReason int
	Error     *locale.Message
}

type roleChoice struct {
	Name    string
	Text    *locale.Message
	Current bool
}

// linkPage shows a link for the account's owner, once. No other page shows it.
type linkPage struct {
	page.Frame
	Done *locale.Message
	Name string // of the account
	Link string
	Back string // the account's page
}
