package metric

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"
)

// runtimeMetrics are the metrics of the Go runtime that are values of package runtime/metrics, or
// sums of them. Their names and meanings are those of Prometheus's own client for Go, which
// dashboards for Go programs expect.
var runtimeMetrics = []struct{ name, kind, help, sum string }{
	{"go_gc_gogc_percent", "gauge", "Heap size target percentage: GOGC, or 100.", "/gc/gogc:percent"},
	{"go_gc_gomemlimit_bytes", "gauge", "Memory limit of the Go runtime: GOMEMLIMIT, or math.MaxInt64.", "/gc/gomemlimit:bytes"},
	{"go_memstats_alloc_bytes", "gauge", "Number of bytes allocated in heap and currently in use.", "/memory/classes/heap/objects:bytes"},
	{"go_memstats_alloc_bytes_total", "counter", "Total number of bytes allocated in heap until now, even if released already.", "/gc/heap/allocs:bytes"},
	{"go_memstats_buck_hash_sys_bytes", "gauge", "Number of bytes used by the profiling bucket hash table.", "/memory/classes/profiling/buckets:bytes"},
	{"go_memstats_frees_total", "counter", "Total number of heap objects frees.", "/gc/heap/frees:objects + /gc/heap/tiny/allocs:objects"},
	{"go_memstats_gc_sys_bytes", "gauge", "Number of bytes used for garbage collection system metadata.", "/memory/classes/metadata/other:bytes"},
	{"go_memstats_heap_alloc_bytes", "gauge", "Number of heap bytes allocated and currently in use, same as go_memstats_alloc_bytes.", "/memory/classes/heap/objects:bytes"},
	{"go_memstats_heap_idle_bytes", "gauge", "Number of heap bytes waiting to be used.", "/memory/classes/heap/released:bytes + /memory/classes/heap/free:bytes"},
	{"go_memstats_heap_inuse_bytes", "gauge", "Number of heap bytes that are in use.", "/memory/classes/heap/objects:bytes + /memory/classes/heap/unused:bytes"},
	{"go_memstats_heap_objects", "gauge", "Number of currently allocated objects.", "/gc/heap/objects:objects"},
	{"go_memstats_heap_released_bytes", "gauge", "Number of heap bytes released to OS.", "/memory/classes/heap/released:bytes"},
	{"go_memstats_heap_sys_bytes", "gauge", "Number of heap bytes obtained from system.", "/memory/classes/heap/objects:bytes + /memory/classes/heap/unused:bytes + /memory/classes/heap/released:bytes + /memory/classes/heap/free:bytes"},
	{"go_memstats_mallocs_total", "counter", "Total number of heap objects allocated, both live and gc-ed. Semantically a counter version for go_memstats_heap_objects gauge.", "/gc/heap/allocs:objects + /gc/heap/tiny/allocs:objects"},
	{"go_memstats_mcache_inuse_bytes", "gauge", "Number of bytes in use by mcache structures.", "/memory/classes/metadata/mcache/inuse:bytes"},
	{"go_memstats_mcache_sys_bytes", "gauge", "Number of bytes used for mcache structures obtained from system.", "/memory/classes/metadata/mcache/inuse:bytes + /memory/classes/metadata/mcache/free:bytes"},
	{"go_memstats_mspan_inuse_bytes", "gauge", "Number of bytes in use by mspan structures.", "/memory/classes/metadata/mspan/inuse:bytes"},
	{"go_memstats_mspan_sys_bytes", "gauge", "Number of bytes used for mspan structures obtained from system.", "/memory/classes/metadata/mspan/inuse:bytes + /memory/classes/metadata/mspan/free:bytes"},
	{"go_memstats_next_gc_bytes", "gauge", "Number of heap bytes when next garbage collection will take place.", "/gc/heap/goal:bytes"},
	{"go_memstats_other_sys_bytes", "gauge", "Number of bytes used for other system allocations.", "/memory/classes/other:bytes"},
	{"go_memstats_stack_inuse_bytes", "gauge", "Number of bytes obtained from system for stack allocator in non-CGO environments.", "/memory/classes/heap/stacks:bytes"},
	{"go_memstats_stack_sys_bytes", "gauge", "Number of bytes obtained from system for stack allocator.", "/memory/classes/heap/stacks:bytes + /memory/classes/os-stacks:bytes"},
	{"go_memstats_sys_bytes", "gauge", "Number of bytes obtained from system.", "/memory/classes/total:bytes"},
	{"go_sched_gomaxprocs_threads", "gauge", "Number of operating system threads that can execute Go code simultaneously.", "/sched/gomaxprocs:threads"},
}

// AddRuntime adds the metrics of the Go runtime and of the build.
func (r *Registry) AddRuntime() {
	for _, m := range runtimeMetrics {
		names := strings.Split(m.sum, " + ")
		r.addRead(m.kind, m.name, m.help+" Equals to "+m.sum+".", func() float64 { return readRuntime(names) })
	}
	r.AddGauge("go_memstats_last_gc_time_seconds", "Number of seconds since 1970 of last garbage collection.", func() float64 {
		var collections debug.GCStats
		debug.ReadGCStats(&collections)
		if collections.LastGC.IsZero() {
			return 0
		}
		return float64(collections.LastGC.UnixNano()) / 1e9
	})
	r.AddGauge("go_goroutines", "Number of goroutines that currently exist.", func() float64 { return float64(runtime.NumGoroutine()) })
	r.AddGauge("go_threads", "Number of OS threads created.", func() float64 {
		n, _ := runtime.ThreadCreateProfile(nil)
		return float64(n)
	})
	const pauses = "go_gc_duration_seconds"
	r.add(family{pauses, "A summary of the wall-time pause (stop-the-world) duration in garbage collection cycles.", "summary", func(b []byte) []byte {
		collections := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)} // minimum, quartiles, maximum
		debug.ReadGCStats(&collections)
		for i, pause := range collections.PauseQuantiles {
			b = appendSample(b, pauses, pause.Seconds(), "quantile", formatFloat(float64(i)/4))
		}
		b = appendSample(b, pauses+"_sum", collections.PauseTotal.Seconds())
		return appendSample(b, pauses+"_count", float64(collections.NumGC))
	}})
	r.addInfo("go_info", "Information about the Go environment.", "version", runtime.Version())
	if build, ok := debug.ReadBuildInfo(); ok {
		r.addInfo("go_build_info", "Build information about the main Go module.", "checksum", build.Main.Sum, "path", build.Main.Path, "version", build.Main.Version)
	}
}

// addInfo adds a metric whose value is always 1 and whose labels, given as names and values,
// carry the information.
func (r *Registry) addInfo(name, help string, pairs ...string) {
	r.add(family{name, help, "gauge", func(b []byte) []byte { return appendSample(b, name, 1, pairs...) }})
}

// readRuntime returns the sum of values of package runtime/metrics, or NaN if this version of Go
// doesn't have one of them.
func readRuntime(names []string) (sum float64) {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for _, one := range samples {
		if one.Value.Kind() != metrics.KindUint64 {
			return math.NaN()
		}
		sum += float64(one.Value.Uint64())
	}
	return sum
}
