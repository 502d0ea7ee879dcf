package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

const (
	// sweepEvery is how often expired rows are deleted.
	sweepEvery = time.Minute

	// writeUsesEvery is how often the last uses of sessions and passes are written. A server that
	// is killed loses at most the uses of this time.
	writeUsesEvery = 5 * time.Second

	// sealEvery is how often new audit events are sealed. Until then, an attacker with
	// write access to the database could change them unnoticed.
	sealEvery = 5 * time.Second

	// pruneEvery is how often audit events older than audit.keep are deleted. Each
	// deletion leaves a checkpoint, which stays.
	pruneEvery = 6 * time.Hour

	// scheduleEvery is how often the server checks whether a backup is due. It is so often that a
	// server that restarts often makes its backups too.
	scheduleEvery = time.Minute

	// watchAgain is the pause after the server lost the database and before it listens for changes
	// again.
	watchAgain = time.Second
)

// Names of the leases that jobs take by themselves. Taking a lease is a write, so these jobs first
// check whether there is work.
const (
	sweepLease   = "sweep"
	measureLease = "measure"

	// auditLease is the lease of sealing and of pruning. Earlier versions use the lease "audit".
	// They can't seal every event, so a node with an earlier version must not keep the nodes of
	// this version from sealing.
	auditLease = "audit2"
)

// startJobs starts all jobs. The function end stops them and waits until they have stopped.
func (p *Portal) startJobs(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { p.watchChanges(ctx) })
	running.Go(func() { p.cluster.Run(ctx, p.jobs()) })
	return func() {
		cancel()
		running.Wait()
	}
}

// jobs returns the jobs of this server; see [cluster.Job].
func (p *Portal) jobs() []cluster.Job {
	jobs := []cluster.Job{
		{Name: "report", Every: maintenance.RingEvery, Run: p.Report},
		{Name: "sweep", Every: sweepEvery, Run: p.Sweep},
		{Name: "seen", Every: writeUsesEvery, Run: p.Entry.WriteUses},
		{Name: "seal", Every: sealEvery, Run: p.Seal},
		{Name: "prune", Every: pruneEvery, Run: p.Prune},
		{Name: "measure", Every: throttle.MeasureEvery, Run: p.Measure},
		{Name: "clock", Every: clock.MoveEvery, Run: p.WatchClock},
		{Name: "send", Every: outbox.Every, Run: p.Outbox.Run},
	}
	if p.Config.Backup.Every > 0 {
		jobs = append(jobs, cluster.Job{Name: "backup", Every: scheduleEvery, Alone: true, Run: p.BackUp})
	}
	if p.certificates != nil {
		jobs = append(jobs, cluster.Job{Name: "certificates", Every: certs.WatchEvery, AtStart: true, Run: p.WatchCertificates})
	}
	return jobs
}

// watchChanges listens for changes by other processes, so that the cache of visits and
// passes stays correct. While it can't listen, every check reads the database.
func (p *Portal) watchChanges(ctx context.Context) {
	for said := false; ctx.Err() == nil; {
		err := p.DB.Watch(ctx, p.Login.Clock)
		// Log each loss only once: a database may be unavailable for hours, and a pooler never
		// allows LISTEN.
		said = said && !p.DB.Current(p.Login.Clock())
		if ctx.Err() == nil && !said {
			said = true
			p.Log.Warn("the database doesn't report changes by other processes to this node; until it does, every check reads the database", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

// rest does the last work of the jobs, after the requests have ended. It seals the events of the last
// requests, since the next start may be far away. It writes the last uses of sessions and passes. It
// gives back this node's leases, so that other nodes needn't wait until the leases end.
func (p *Portal) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	p.stopSending(ctx)
	// Seal without the lease, since the node that holds it may be dead. If two nodes seal at the
	// same time, only one succeeds.
	n, err := p.sealBatch(ctx)
	for err == nil && n > 0 {
		n, err = p.sealBatch(ctx)
	}
	if err := errors.Join(err, p.Entry.WriteUses(ctx), p.cluster.Leave(ctx)); err != nil {
		p.Log.Warn("the last work before the stop failed", "reason", err.Error())
	}
}

// sendTime is the part of restTime that messages which are being sent have to finish. A message that
// is cut off is sent again later.
const sendTime = restTime - 2*time.Second

func (p *Portal) stopSending(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	p.Outbox.Stop(ctx)
}

// Report stores that this node is alive, which keys it has, and which words it knows; see
// [cluster.Report]. If this version has become too old for the database, Report makes Serve end.
// That happens to a node that was frozen while the other nodes were upgraded: it couldn't read the
// rows that the other nodes have stored since.
func (p *Portal) Report(ctx context.Context) error {
	err := p.reporter.Report(ctx)
	if errors.Is(err, db.ErrTooOld) && p.isTooOld.CompareAndSwap(false, true) {
		p.tooOld <- err
	}
	return err
}

// BackUp makes a scheduled backup if one is due, and removes the oldest ones beyond the
// number to keep. One node at a time calls it.
func (p *Portal) BackUp(ctx context.Context) error {
	_, trusted, err := p.Login.Mark.Trusted(ctx, p.now)
	if err != nil {
		return err
	}
	recipients, err := config.AgeRecipients(p.Config.Backup.Recipients)
	if err != nil {
		return fmt.Errorf("backup.recipients: %w", err)
	}
	schedule := maintenance.Schedule{
		Dir: p.Config.BackupDir(), Every: time.Duration(p.Config.Backup.Every), Keep: p.Config.Backup.Keep, Recipients: recipients, Clock: time.Now,
	}
	made, err := schedule.BackUp(ctx, p.DB, p.Login.Ring, p.Login.Watch.Believed(p.now()), trusted)
	if made != nil {
		p.Log.Info("backed up", "file", made.File, "secrets", made.Secrets)
	}
	return err
}

// Measure updates this node's verdict on the wrong codes of all accounts together. Only one node
// counts these codes, for all nodes.
func (p *Portal) Measure(ctx context.Context) error {
	err := p.cluster.Alone(ctx, measureLease, throttle.MeasureEvery, func(ctx context.Context) error {
		accounts, err := account.Count(ctx, p.DB.Reader())
		if err != nil {
			return err
		}
		before := p.Login.Ledger.IsHot()
		hot, err := p.Login.Ledger.Measure(ctx, accounts)
		if hot && !before {
			p.Log.Error("wrong codes after right passwords on many accounts: passwords of this site may have leaked, so unknown browsers must now give two codes in a row")
		}
		return err
	})
	_, heard := p.Login.Ledger.Refresh(ctx)
	return errors.Join(err, heard)
}

// CompareClocks compares the machine's clock with the reference clock, which Login.Clock follows from
// then on. It changes no row. A server calls [Portal.WatchClock] instead.
func (p *Portal) CompareClocks(ctx context.Context) error {
	ahead, err := p.Login.Mark.Ahead(ctx, p.now)
	if err != nil {
		return err
	}
	state, err := clock.Read(ctx, p.DB.Reader())
	if err != nil {
		return err
	}
	p.Login.Watch.Compared(p.now(), ahead, state)
	return nil
}

// WatchClock compares the machine's clock with the database's, moves the high-water mark, and logs
// what is wrong with the clocks (F7).
func (p *Portal) WatchClock(ctx context.Context) error {
	if by := p.Login.Watch.Observe(p.now()); by > 0 {
		p.Log.Warn("the clock went back", "by", by.Round(time.Second).String())
	}
	ahead, err := p.Login.Mark.Ahead(ctx, p.now)
	if err != nil {
		return err
	}
	before, after, err := p.Login.Mark.Move(ctx)
	if err != nil {
		before = p.Login.Watch.Mark() // go on, since the comparison of the clocks is still of use
		after = before
	}
	p.Login.Watch.Compared(p.now(), ahead, after)
	if off := p.Login.Watch.Astray(); off != 0 {
		p.Log.Error("this server's clock differs from the database's, so it refuses codes from authenticator apps: synchronize both with a time server", "ahead", off.Round(time.Second).String())
	} else if off := p.Login.Watch.Off(); off != 0 {
		p.Log.Warn("this server's clock differs from the database's: synchronize both with a time server", "ahead", off.Round(time.Second).String())
	}
	if by := after.Behind(p.Login.Clock()); by > 0 {
		p.Log.Error("this server's clock was set back, so it refuses codes from authenticator apps: correct the clock, or if it is right now, run: sallyport clock accept", "behind", by.Round(time.Second).String())
	}
	if !after.LeaptAt.Equal(before.LeaptAt) && !after.LeaptAt.IsZero() {
		p.Log.Warn("the clock jumped ahead, or the server was off; Sallyport accepts the new time after an hour, or at once if you run: sallyport clock accept",
			"ahead", after.LeaptAt.Sub(after.HighWater).Round(time.Second).String())
	}
	if by := p.Login.Watch.Leapt(); by > 0 {
		p.Log.Error("this server's clock was set ahead while it ran, so it refuses codes from authenticator apps for an hour: correct the clock, or if it is right now, run: sallyport clock accept", "ahead", by.Round(time.Second).String())
	}
	return err
}

// Sweep deletes expired rows, unless another node does so or the time isn't certain. A sweep is never
// urgent, since expired rows have no effect.
func (p *Portal) Sweep(ctx context.Context) error {
	now, trusted, err := p.Login.Mark.Trusted(ctx, p.now)
	if err != nil || !trusted {
		return err
	}
	return p.cluster.Alone(ctx, sweepLease, sweepEvery, func(ctx context.Context) error {
		var failed []error
		for _, sweep := range []func(context.Context, *db.Tx, time.Time) error{
			login.ExpireAttempts, p.sweepSessions, session.ExpireHandoffs, device.Expire,
			pass.Expire, authenticator.ExpirePending, ticket.Expire, throttle.Expire, p.Outbox.Expire,
		} {
			// Each deletion has its own transaction, so that a slow one doesn't delay or undo the
			// others.
			failed = append(failed, p.DB.Write(ctx, func(tx *db.Tx) error { return sweep(ctx, tx, now) }))
		}
		return errors.Join(failed...)
	})
}

func (p *Portal) sweepSessions(ctx context.Context, tx *db.Tx, now time.Time) error {
	return session.Expire(ctx, tx, p.Login.Life, now)
}

// Seal adds new audit events to the chain, unless another node does so, and logs each new head. If
// the database's owner cuts off the chain's end, only the logged heads show it, and only up to the
// last of them. The database's owner must therefore not be able to change the log.
func (p *Portal) Seal(ctx context.Context) error {
	for more := true; more; {
		// Check first, since taking the lease is a write.
		oldest, err := audit.Waiting(ctx, p.DB.Reader())
		if err != nil || oldest.IsZero() {
			return err
		}
		// A node without the newest key mustn't take the lease, which would keep others from sealing.
		if err := audit.CanSeal(ctx, p.DB.Reader(), p.Login.Ring); err != nil {
			return err
		}
		more = false
		err = p.cluster.Alone(ctx, auditLease, sealEvery, func(ctx context.Context) error {
			_, err := p.sealBatch(ctx)
			more = err == nil
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Portal) sealBatch(ctx context.Context) (n int, err error) {
	head, n, err := audit.Seal(ctx, p.DB, p.Login.Ring)
	if err == nil && n > 0 {
		p.Log.Info("audit sealed", "seq", head.Seq, "head", head.String())
	}
	return n, err
}

// Prune deletes the audit events that are older than audit.keep, unless another node does so or the
// time isn't certain.
func (p *Portal) Prune(ctx context.Context) error {
	if p.Config.Audit.Keep == 0 {
		return nil
	}
	now, trusted, err := p.Login.Mark.Trusted(ctx, p.now)
	if err != nil || !trusted {
		return err
	}
	for more := true; more; {
		more = false
		// Prune takes the lease of sealing, so it gives the lease the same life.
		err := p.cluster.Alone(ctx, auditLease, sealEvery, func(ctx context.Context) error {
			head, n, err := audit.Prune(ctx, p.DB, p.Login.Ring, now.Add(-time.Duration(p.Config.Audit.Keep)), now)
			if err == nil && n > 0 {
				p.Log.Info("audit pruned", "seq", head.Seq, "head", head.String())
			}
			more = n == audit.Batch
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
