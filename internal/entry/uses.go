package entry

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

// lastUses collects the last use of sessions and passes by id, until WriteUses writes them
// together: a write for each request would cost more than the request. If the server is
// killed or the write fails, the collected uses are lost. A session then ends earlier as
// idle, never later.
type lastUses struct {
	mu               sync.Mutex
	sessions, passes map[string]time.Time
}

// drain returns the collected uses and clears them.
func (u *lastUses) drain() (sessions, passes map[string]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sessions, passes = u.sessions, u.passes
	u.sessions, u.passes = nil, nil
	return sessions, passes
}

func (u *lastUses) note(of *map[string]time.Time, id string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if *of == nil {
		*of = map[string]time.Time{}
	}
	if (*of)[id].Before(now) {
		(*of)[id] = now
	}
}

// NoteUse records the use of the admitted visit, so that its session doesn't end as idle, or of
// the admitted pass, so that its owner sees which passes are in use. [Service.WriteUses] writes
// the record to the database later.
func (s *Service) NoteUse(a Admission) {
	v, now := a.Visitor, a.at
	switch {
	case v.Visit.ID != "" && v.Visit.Session.SeenIsOld(now) && s.Admissions.claimUse(v, s.Life, now):
		s.lastUses.note(&s.lastUses.sessions, v.Visit.Session.ID, now)
	case v.Pass.ID != "" && v.Pass.SeenIsOld(now) && s.Admissions.claimUse(v, s.Life, now):
		s.lastUses.note(&s.lastUses.passes, v.Pass.ID, now)
	}
}

// NoteSessionUse records that a session was used at the portal, as [Service.NoteUse] does.
func (s *Service) NoteSessionUse(held session.Session) {
	if now := s.Clock(); held.SeenIsOld(now) {
		s.lastUses.note(&s.lastUses.sessions, held.ID, now)
	}
}

// WriteUses writes the collected uses in one transaction. If the clock was set back after a use,
// the time of the use may be too far in the future; WriteUses then corrects it.
func (s *Service) WriteUses(ctx context.Context) error {
	sessions, passes := s.lastUses.drain()
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
