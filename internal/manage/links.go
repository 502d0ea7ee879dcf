package manage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Links redeems all one-time links. It issues setup links, for the first account, and let-in links;
// [Accounts.Invite] and [Authenticators.ResetTwoFactor] issue the others.
type Links struct{ *base }

// LetIn issues a let-in link and returns its token. The browser that opens the link becomes known
// for the account. Its user must still give password and code, and no budget is reset. LetIn
// returns a [*login.WaitError] if an owner has made too many changes.
func (m Links) LetIn(ctx context.Context, by Actor, a account.Account) (secret.Text, error) {
	how := delivery{}
	err := m.letIn(ctx, by, a, &how)
	return how.token, err
}

// LetInByMail is [Links.LetIn], but the link is mailed to the account's address, which it returns.
// It also returns the errors of [account.Account.CheckMailable].
func (m Links) LetInByMail(ctx context.Context, by Actor, a account.Account) (to string, err error) {
	how := delivery{byMail: true}
	err = m.letIn(ctx, by, a, &how)
	return how.to, err
}

func (m Links) letIn(ctx context.Context, by Actor, a account.Account, how *delivery) error {
	return m.editAs(ctx, by, access.Unlock, a.ID, func(tx *db.Tx, by Actor, a account.Account) error {
		if err := m.pace(ctx, tx, by, audit.LetInIssued); err != nil {
			return err
		}
		return m.deliver(ctx, tx, by, audit.LetInIssued, a, ticket.LetIn, ticket.LetIn.Life(), how)
	})
}

// RedeemLetIn redeems a let-in link and returns the device cookie's new value. For a mailed link,
// typed must be the name or address of its account, since programs of mail servers press the
// buttons of every page that they open. RedeemLetIn returns ticket.ErrInvalid if the link isn't
// valid, and [ErrOtherName] if typed is wrong.
func (m Links) RedeemLetIn(ctx context.Context, token, typed string, from login.Browser) (secret.Text, error) {
	var deviceToken secret.Text
	err := m.login.DB.Write(ctx, func(tx *db.Tx) error {
		now := m.login.Clock()
		// Because of the lock, a concurrent reset either revokes the link or removes the known browser.
		link, owner, err := m.lockedTicket(ctx, tx, token, now)
		if err != nil {
			return err
		}
		if link.Kind != ticket.LetIn {
			return ticket.ErrInvalid
		}
		if link.IsMailed() && !owner.IsNamed(typed) {
			return ErrOtherName
		}
		if err := ticket.Redeem(ctx, tx, link, now); err != nil {
			return err
		}
		if deviceToken, _, err = device.Remember(ctx, tx, link.AccountID, from.AsDevice(), now); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, from.Event(now, link.AccountID, audit.LetInUsed))
	})
	return deviceToken, err
}

// lockedTicket returns the valid ticket with this token, and its account, whose row it locks until
// tx ends. A setup link has no account to lock. lockedTicket returns [ticket.ErrInvalid] if the
// link isn't valid, or if its account is disabled.
func (m Links) lockedTicket(ctx context.Context, tx *db.Tx, token string, now time.Time) (ticket.Ticket, account.Account, error) {
	link, err := ticket.ByToken(ctx, tx, token, now)
	if err != nil || link.AccountID == "" {
		return link, account.Account{}, err
	}
	owner, err := account.LockAndRead(ctx, tx, link.AccountID)
	if errors.Is(err, db.ErrNotFound) || err == nil && owner.Disabled() {
		err = ticket.ErrInvalid // the account is disabled, or was removed together with its links
	}
	if err != nil {
		return ticket.Ticket{}, owner, err
	}
	// The transaction that held the lock before may have revoked the link.
	if link, err = ticket.ByToken(ctx, tx, token, now); err == nil {
		err = m.checkMailed(ctx, tx, link, owner)
	}
	return link, owner, err
}

// IssueSetup returns the token of a link that creates the first account. It returns false
// if an account exists. Earlier setup links stay valid until the first account is created.
func (m Links) IssueSetup(ctx context.Context, by Actor) (secret.Text, bool, error) {
	var token secret.Text
	some, err := account.AnyExist(ctx, m.login.DB.Reader())
	if err != nil || some {
		return token, false, err
	}
	err = m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if token, err = ticket.Issue(ctx, tx, ticket.Setup, "", m.login.Clock()); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, "", audit.SetupLinkIssued, ""))
	})
	return token, err == nil, err
}

// Link describes a one-time link that a browser opened. Opening doesn't redeem it.
type Link struct {
	Kind        ticket.Kind
	Account     account.Account // zero for a setup link
	NewPassword bool            // redeeming the link sets a password
	AsksName    bool            // redeeming it needs the account's name
}

// ErrSetupTicket is [ticket.ErrInvalid] while no account exists. The user must then be the
// operator, who can make a new setup link.
var ErrSetupTicket = fmt.Errorf("%w, and there is no account yet", ticket.ErrInvalid)

// Open returns what the link with this token is for. It returns [ticket.ErrInvalid] or
// [ErrSetupTicket] if the link isn't valid.
func (m Links) Open(ctx context.Context, token string) (Link, error) {
	q := m.login.DB.Reader()
	link, err := ticket.ByToken(ctx, q, token, m.login.Clock())
	if errors.Is(err, ticket.ErrInvalid) {
		some, unread := account.AnyExist(ctx, q)
		if unread == nil && !some {
			err = ErrSetupTicket
		}
		return Link{}, errors.Join(err, unread)
	}
	if err != nil {
		return Link{}, err
	}
	opened := Link{Kind: link.Kind}
	if link.Kind == ticket.Setup {
		opened.NewPassword = true
		if some, err := account.AnyExist(ctx, q); err != nil || some {
			return Link{}, errors.Join(ticket.ErrInvalid, err)
		}
		return opened, nil
	}
	opened.Account, err = account.ByID(ctx, q, link.AccountID)
	if errors.Is(err, db.ErrNotFound) { // the account was removed after the first read
		return Link{}, ticket.ErrInvalid
	}
	if err != nil {
		return Link{}, err
	}
	if opened.Account.Disabled() {
		return Link{}, ticket.ErrInvalid
	}
	if err := m.checkMailed(ctx, q, link, opened.Account); err != nil {
		return Link{}, err
	}
	switch link.Kind {
	case ticket.Invitation:
		opened.NewPassword = true
	case ticket.Enroll:
		suspect, err := password.SuspectSince(ctx, q, link.AccountID)
		if err != nil {
			return Link{}, err
		}
		opened.NewPassword = !suspect.IsZero()
	case ticket.LetIn:
		opened.AsksName = link.IsMailed()
	default: // mailed links have pages of their own, which ask for more
		return Link{}, ticket.ErrInvalid
	}
	return opened, nil
}

// NewOwner has the fields of a form that a link opens. Name and Email are used only for a setup
// link.
type NewOwner struct {
	Name     string
	Email    string
	Password string
}

// Redeem redeems a link. A setup link creates the first account, which is an operator's. An
// invitation sets the invited account's password. The link of a reset replaces a suspect password,
// and stays valid for the wizard. The browser becomes known, and Redeem returns the new value of
// its device cookie. The user still has to sign in afterwards.
func (m Links) Redeem(ctx context.Context, token string, given NewOwner, from login.Browser) (secret.Text, error) {
	var deviceToken secret.Text
	opened, err := m.Open(ctx, token)
	if err != nil {
		return deviceToken, err
	}
	if !opened.NewPassword {
		return deviceToken, ticket.ErrInvalid
	}
	if opened.Kind == ticket.Setup {
		// Check the name before the slow hash, for a quick answer.
		if _, err := account.CheckNewName(given.Name); err != nil {
			return deviceToken, err
		}
	}
	owner := opened.Account
	if opened.Kind == ticket.Setup {
		owner = account.Account{Name: given.Name, Email: given.Email, Role: account.Administrator}
	}
	phc, err := m.login.HashNew(ctx, owner, given.Password)
	if err != nil {
		return deviceToken, err
	}
	err = m.login.DB.Write(ctx, func(tx *db.Tx) error {
		now := m.login.Clock()
		link, _, err := m.lockedTicket(ctx, tx, token, now)
		if err != nil {
			return err
		}
		kind := audit.PasswordChanged
		if link.Kind == ticket.Setup {
			kind = audit.AccountCreated
			owner, err = createFirst(ctx, tx, link, owner, now)
		} else {
			err = admitNewPassword(ctx, tx, link, now)
		}
		if err != nil {
			return err
		}
		if err := password.Set(ctx, tx, m.login.Ring, owner.ID, phc, now); err != nil {
			return err
		}
		if deviceToken, _, err = device.Remember(ctx, tx, owner.ID, from.AsDevice(), now); err != nil {
			return err
		}
		if err := m.login.Journal.Record(ctx, tx, from.Event(now, owner.ID, kind)); err != nil || !link.IsMailed() {
			return err
		}
		// The owner has read a mail to the account's address.
		if err := account.SetEmailVerified(ctx, tx, owner.ID, now); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, from.Event(now, owner.ID, audit.EmailVerified))
	})
	return deviceToken, err
}

// createFirst redeems a setup link and creates the first account. It returns
// [ticket.ErrInvalid] if there is an account already.
func createFirst(ctx context.Context, tx *db.Tx, link ticket.Ticket, owner account.Account, now time.Time) (account.Account, error) {
	if err := ticket.Redeem(ctx, tx, link, now); err != nil {
		return owner, err
	}
	if some, err := account.AnyExist(ctx, tx); err != nil || some {
		return owner, errors.Join(ticket.ErrInvalid, err)
	}
	return account.Create(ctx, tx, owner, now)
}

// admitNewPassword prepares an existing account for the new password that the holder of a link
// sets: it ends everything that could still act for the account. It redeems the link, except an
// enrolment link, which the wizard redeems later. The link must come from [lockedTicket].
func admitNewPassword(ctx context.Context, tx *db.Tx, link ticket.Ticket, now time.Time) error {
	if link.Kind == ticket.Enroll {
		// Of several concurrent callers, only one succeeds.
		if there, err := password.ClearSuspect(ctx, tx, link.AccountID); err != nil {
			return err
		} else if !there {
			return ticket.ErrInvalid
		}
	} else if err := ticket.Redeem(ctx, tx, link, now); err != nil {
		return err
	}
	_, err := login.EndOthers(ctx, tx, link.AccountID, login.Spared{})
	return err
}
