package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// leasePauses is the length of a job's lease, in pauses between two runs of the job. It is
// long enough for a slow node to renew the lease, and short enough for another node to take
// over soon from a dead one.
const leasePauses = 3

// Cluster runs the jobs of one of the servers that share a database. It is safe for
// concurrent use.
type Cluster struct {
	DB   *db.DB
	Self string // the id of this server
	Log  *slog.Logger

	// Reference returns the time of the clock that all servers share.
	Reference func(context.Context) (time.Time, error)
}

// Job is work that a server does again and again.
type Job struct {
	Name    string                      // for the log and for the job's lease
	Every   time.Duration               // the pause between two runs
	Alone   bool                        // one node at a time runs it, for all
	AtStart bool                        // the first run is at once, not after a pause
	Run     func(context.Context) error // its error is logged
}

// Run runs all jobs side by side, each at its interval, until ctx ends. It returns once
// the runs under way have returned.
func (c *Cluster) Run(ctx context.Context, jobs []Job) {
	var running sync.WaitGroup
	for _, job := range jobs {
		running.Go(func() { c.repeat(ctx, job) })
	}
	running.Wait()
}

func (c *Cluster) repeat(ctx context.Context, job Job) {
	if job.AtStart {
		c.once(ctx, job)
	}
	ticker := time.NewTicker(job.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.once(ctx, job)
	}
}

func (c *Cluster) once(ctx context.Context, job Job) {
	var err error
	if job.Alone {
		err = c.Alone(ctx, job.Name, job.Every, job.Run)
	} else {
		err = job.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("a background job failed and will run again", "job", job.Name, "reason", err.Error())
	}
}

// Alone takes the lease with the given name and calls work. If another node has the lease, it
// only returns nil. The parameter every is the pause between two runs. Alone is for jobs that
// first check whether there is anything to do, since taking a lease is a write; other jobs set
// [Job.Alone].
func (c *Cluster) Alone(ctx context.Context, lease string, every time.Duration, work func(context.Context) error) error {
	now, err := c.Reference(ctx)
	if err != nil {
		return err
	}
	held, err := Lease(ctx, c.DB, lease, c.Self, leasePauses*every, now)
	if err != nil || !held {
		return err
	}
	return work(ctx)
}

// Leave removes this server's leases and its report, so that no other node waits for them.
func (c *Cluster) Leave(ctx context.Context) error { return EndLeases(ctx, c.DB, c.Self) }
