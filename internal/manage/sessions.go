package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/session"
)

// Sessions signs out and revokes sessions.
type Sessions struct{ *base }

// SignOut revokes the session that me uses.
func (m Sessions) SignOut(ctx context.Context, me login.Me) error {
	return m.revoke(ctx, me, me.Session.ID, audit.SignedOut)
}

// Revoke revokes one of the owner's sessions, or returns [login.ErrGone].
func (m Sessions) Revoke(ctx context.Context, me login.Me, id string) error {
	return m.revoke(ctx, me, id, audit.SessionEnded)
}

func (m Sessions) revoke(ctx context.Context, me login.Me, id string, kind audit.Kind) error {
	return m.editTogether(ctx, me, func(tx *db.Tx, me login.Me) error { return m.revokeTx(ctx, tx, me, id, kind) })
}

// revokeTx revokes one of the owner's sessions in tx, or returns [login.ErrGone].
func (m Sessions) revokeTx(ctx context.Context, tx *db.Tx, me login.Me, id string, kind audit.Kind) error {
	there, err := session.Revoke(ctx, tx, me.Account.ID, id)
	if err != nil {
		return err
	}
	if !there {
		return login.ErrGone
	}
	return m.login.Journal.Record(ctx, tx, me.From.Event(m.login.Clock(), me.Account.ID, kind))
}

// RevokeOthers revokes all of the owner's sessions except the one in use and returns their
// number.
func (m Sessions) RevokeOthers(ctx context.Context, me login.Me) (int, error) {
	var n int
	err := m.editTogether(ctx, me, func(tx *db.Tx, me login.Me) error {
		var err error
		if n, err = session.RevokeOthers(ctx, tx, me.Account.ID, me.Session.ID); err != nil || n == 0 {
			return err
		}
		event := me.From.Event(m.login.Clock(), me.Account.ID, audit.SessionsEnded)
		event.Number = n
		return m.login.Journal.Record(ctx, tx, event)
	})
	return n, err
}

// RevokeAll revokes all sessions of an account.
func (m Sessions) RevokeAll(ctx context.Context, by Actor, a account.Account) error {
	return m.editAs(ctx, by, access.EndSessions, a.ID, func(tx *db.Tx, by Actor, a account.Account) error {
		n, err := session.RevokeOthers(ctx, tx, a.ID, "")
		if err != nil || n == 0 {
			return err
		}
		event := m.event(by, a.ID, audit.SessionsEnded, "")
		event.Number = n
		return m.login.Journal.Record(ctx, tx, event)
	})
}

// SignOutAtPanel signs out the session that a visit to the panel belongs to, which ends the session's
// visits to all panels. The parameter token is the visit's. SignOutAtPanel returns nil if the visit
// has ended already.
func (m Sessions) SignOutAtPanel(ctx context.Context, panel *access.Panel, token string, from login.Browser) error {
	v, err := m.entry.VisitByToken(ctx, m.login.DB.Reader(), panel, token)
	if err == nil {
		err = account.Change(ctx, m.login.DB, v.Owner.ID, func(tx *db.Tx) error {
			// The change that held the lock before may have ended the visit and given its session a
			// new token.
			v, err := m.entry.VisitByToken(ctx, tx, panel, token)
			if err != nil {
				return err
			}
			return m.revokeTx(ctx, tx, login.Me{Session: v.Session, Account: v.Owner, From: from}, v.Session.ID, audit.SignedOut)
		})
	}
	if errors.Is(err, login.ErrGone) || errors.Is(err, db.ErrNotFound) {
		return nil // the visit has ended already
	}
	return err
}
