package login

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
)

// uses are when sessions and passes, by id, were used last, until that is
// written: to write each by itself would cost more than the request did. What a
// killed server hadn't written, and what the database refused, was never noted:
// such a session ends that much early as idle, and never late.
type uses struct {
	mu               sync.Mutex
	sessions, passes map[string]time.Time
}

// take returns what is to be written, and forgets it.
func (u *uses) take() (sessions, passes map[string]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sessions, passes = u.sessions, u.passes
	u.sessions, u.passes = nil, nil
	return sessions, passes
}

func (u *uses) note(of *map[string]time.Time, id string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if *of == nil {
		*of = map[string]time.Time{}
	}
	if (*of)[id].Before(now) {
		(*of)[id] = now
	}
}

// Seen notes that a visit was used, so that its session doesn't end as idle, or a
// pass, so that its owner sees which are. It is written by [Service.WriteUses].
func (s *Service) Seen(v *Visitor) {
	now := s.Clock()
	switch {
	case v.Visit.ID != "" && v.Visit.Session.SeenIsOld(now) && s.Admissions.seen(v, now):
		s.uses.note(&s.uses.sessions, v.Visit.Session.ID, now)
	case v.Pass.ID != "" && v.Pass.SeenIsOld(now) && s.Admissions.seen(v, now):
		s.uses.note(&s.uses.passes, v.Pass.ID, now)
	}
}

// SeenSession notes that a session was used at the portal, as [Service.Seen] does.
func (s *Service) SeenSession(held session.Session) {
	if now := s.Clock(); held.SeenIsOld(now) {
		s.uses.note(&s.uses.sessions, held.ID, now)
	}
}

// WriteUses writes what was noted, in one transaction. What a clock noted that was ahead
// and has gone back meanwhile is written as of now.
func (s *Service) WriteUses(ctx context.Context) error {
	sessions, passes := s.uses.take()
	latest := s.Clock().Add(clock.Slack)
	for _, uses := range []map[string]time.Time{sessions, passes} {
		for id, at := range uses {
			if at.After(latest) {
				uses[id] = latest
			}
		}
	}
	if len(sessions)+len(passes) == 0 {
		return nil
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		for id, at := range sessions {
			if err := session.NoteUse(ctx, tx, id, at); err != nil {
				return err
			}
		}
		for id, at := range passes {
			if err := pass.NoteUse(ctx, tx, id, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note last uses: %w", err)
	}
	return nil
}
