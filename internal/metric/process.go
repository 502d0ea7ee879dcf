package metric

import (
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
)

// AddProcess adds the metrics of this process, which started at the given time. Values from /proc
// are NaN on systems without it.
func (r *Registry) AddProcess(started time.Time) {
	r.AddGauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
		func() float64 { return float64(started.UnixMilli()) / 1000 })
	r.AddCounter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", func() float64 {
		var used syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
			return math.NaN()
		}
		return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	})
	r.AddGauge("process_virtual_memory_bytes", "Virtual memory size in bytes.",
		func() float64 { virtual, _ := memory(); return virtual })
	r.AddGauge("process_resident_memory_bytes", "Resident memory size in bytes.",
		func() float64 { _, resident := memory(); return resident })
	r.AddGauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.",
		func() float64 { return limit(syscall.RLIMIT_AS) })
	r.AddGauge("process_max_fds", "Maximum number of open file descriptors.",
		func() float64 { return limit(syscall.RLIMIT_NOFILE) })
	r.AddGauge("process_open_fds", "Number of open file descriptors.", func() float64 {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return math.NaN()
		}
		return float64(len(open) - 1) // without the one that was open to read the directory
	})
}

// memory returns the size of the process's virtual memory and of its resident part, in bytes.
func memory() (virtual, resident float64) {
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &virtual, &resident)
	}
	if err != nil {
		return math.NaN(), math.NaN()
	}
	page := float64(os.Getpagesize())
	return virtual * page, resident * page
}

// limit returns the soft limit of a resource. If the resource has no limit, limit returns the
// largest unsigned number of 64 bits.
func limit(resource int) float64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(resource, &l) != nil {
		return math.NaN()
	}
	return float64(l.Cur)
}
