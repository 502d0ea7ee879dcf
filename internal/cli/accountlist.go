package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/ticket"
)

// States of an account. An invited one has no password yet.
const (
	stateEnabled  = "enabled"
	stateDisabled = "disabled"
	stateInvited  = "invited"
)

type accountList struct{ listFlags }

func (c accountList) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	return listAccounts(r, portal.DB.Reader(), c.newWriter(r.streams.Out, "NAME", "EMAIL", "ROLE", "STATE", "TWO-FACTOR"), portal.Login.Clock())
}

// accountRow is an account in a list.
type accountRow struct {
	Name         string     `json:"name"`
	Email        string     `json:"email,omitempty"`
	EmailState   string     `json:"email_state,omitempty"`   // confirmed, unconfirmed, refused
	Role         string     `json:"role"`                    // as [account.Role.Name] returns it
	State        string     `json:"state"`                   // enabled, disabled, invited
	InvitedUntil *time.Time `json:"invited_until,omitempty"` // nil: not invited, or the link has expired
	TwoFactor    bool       `json:"two_factor"`
}

func (a accountRow) cells() []string {
	return []string{a.Name, a.emailInWords(), a.Role, a.stateInWords(), onOff(a.TwoFactor)}
}

func (a accountRow) stateInWords() string {
	switch {
	case a.State != stateInvited:
		return a.State
	case a.InvitedUntil == nil:
		return "invited, link has expired"
	default:
		return "invited, link until " + formatTime(*a.InvitedUntil)
	}
}

// listAccounts writes all accounts. The number of its statements depends on the number of pages,
// not on that of accounts: for all accounts at once, it reads which have two-factor authentication
// on, which have a password, and which have an invitation.
func listAccounts(ctx context.Context, q db.Querier, to *listWriter, now time.Time) error {
	on, err := authenticator.Owners(ctx, q)
	if err != nil {
		return err
	}
	passwords, err := password.Owners(ctx, q)
	if err != nil {
		return err
	}
	invited, err := ticket.Invitations(ctx, q, now)
	if err != nil {
		return err
	}
	for after := ""; ; {
		page, err := account.List(ctx, q, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return to.end()
		}
		for _, a := range page {
			if err := to.add(newAccountRow(a, passwords[a.ID], invited[a.ID], on[a.ID])); err != nil {
				return err
			}
			after = a.Name
		}
	}
}

func newAccountRow(a account.Account, hasPassword bool, invitedUntil time.Time, twoFactor bool) accountRow {
	one := accountRow{Name: a.Name, Email: a.Email, EmailState: emailStateOf(a), Role: a.Role.Name(), State: stateEnabled, TwoFactor: twoFactor}
	switch {
	case a.Disabled():
		one.State = stateDisabled
	case !hasPassword:
		one.State = stateInvited
		if !invitedUntil.IsZero() {
			until := invitedUntil.UTC()
			one.InvitedUntil = &until
		}
	}
	return one
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

type accountShow struct {
	accountArg
	JSON bool `name:"json" help:"Print one JSON object."`
}

// accountDetail is the output of "account show".
type accountDetail struct {
	accountRow
	DisplayName     string                `json:"display_name,omitempty"`
	EmailRefusedAt  *time.Time            `json:"email_refused_at,omitempty"` // when the mail server refused Email
	CreatedAt       time.Time             `json:"created_at"`
	PasswordSetAt   *time.Time            `json:"password_set_at,omitempty"`
	Groups          []string              `json:"groups"`
	Sessions        int                   `json:"sessions"`
	Authenticators  []authenticatorDetail `json:"authenticators"`
	BackupCodesLeft int                   `json:"backup_codes_left"`
	EnrollLocked    bool                  `json:"enroll_locked"` // two-factor authentication is turned on only through a link
}

type authenticatorDetail struct {
	Name       string     `json:"name"`
	AddedAt    time.Time  `json:"added_at"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

func (c accountShow) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		one, err := detailOf(r, portal, a)
		if err != nil {
			return err
		}
		if c.JSON {
			lines := json.NewEncoder(r.streams.Out)
			lines.SetEscapeHTML(false)
			return lines.Encode(one)
		}
		return one.print(r.streams.Out)
	})
}

func detailOf(ctx context.Context, portal *server.Portal, a account.Account) (accountDetail, error) {
	q := portal.DB.Reader()
	changed, err := password.ChangedAt(ctx, q, a.ID)
	if err != nil {
		return accountDetail{}, err
	}
	have, err := authenticator.List(ctx, q, a.ID)
	if err != nil {
		return accountDetail{}, err
	}
	_, codes, err := portal.Login.SecondFactor(ctx, a)
	if err != nil {
		return accountDetail{}, err
	}
	sessions, err := session.List(ctx, q, a, portal.Login.Life, portal.Login.Clock())
	if err != nil {
		return accountDetail{}, err
	}
	groups, err := account.GroupsOf(ctx, q, a.ID)
	if err != nil {
		return accountDetail{}, err
	}
	invited, err := ticket.Invitations(ctx, q, portal.Login.Clock())
	if err != nil {
		return accountDetail{}, err
	}
	one := accountDetail{
		accountRow:  newAccountRow(a, !changed.IsZero(), invited[a.ID], len(have) > 0),
		DisplayName: a.DisplayName, EmailRefusedAt: timeOrNone(a.EmailRefusedAt), CreatedAt: a.CreatedAt.UTC(), PasswordSetAt: timeOrNone(changed), Groups: append([]string{}, groups...),
		Sessions: len(sessions), Authenticators: []authenticatorDetail{}, BackupCodesLeft: codes, EnrollLocked: a.EnrollLocked,
	}
	for _, h := range have {
		used, err := totp.UsedAt(ctx, q, h)
		if err != nil {
			return accountDetail{}, err
		}
		one.Authenticators = append(one.Authenticators, authenticatorDetail{h.Name, h.ConfirmedAt.UTC(), timeOrNone(used)})
	}
	return one, nil
}

func (one accountDetail) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "Name\t%s\nDisplay name\t%s\nEmail\t%s\nRole\t%s\nState\t%s\n", one.Name, one.DisplayName, one.emailInDetail(), one.Role, one.stateInWords())
	fmt.Fprintf(table, "Created\t%s\nPassword set\t%s\nGroups\t%s\n", formatTime(one.CreatedAt), timeOrNever(one.PasswordSetAt), strings.Join(one.Groups, ", "))
	fmt.Fprintf(table, "Sessions\t%d\nTwo-factor\t%s\n", one.Sessions, onOff(one.TwoFactor))
	for _, a := range one.Authenticators {
		fmt.Fprintf(table, "Authenticator\t%s, added %s, last used %s\n", a.Name, formatTime(a.AddedAt), timeOrNever(a.LastUsedAt))
	}
	if one.TwoFactor {
		fmt.Fprintf(table, "Backup codes left\t%d\n", one.BackupCodesLeft)
	}
	if one.EnrollLocked {
		fmt.Fprintf(table, "Enrolment\tonly through an administrator's link\n")
	}
	return table.Flush()
}

// timeOrNone returns nil for the zero time, which JSON would show as the year 1.
func timeOrNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func timeOrNever(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return formatTime(*t)
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}
