package main

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

// cpuSet has a bit for each core, in the form of sched_setaffinity(2).
type cpuSet [16]uint64

func (s cpuSet) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// split returns the first core of s and the others.
func (s cpuSet) split() (first, others cpuSet) {
	others = s
	for i, word := range s {
		if word != 0 {
			first[i] = word & -word
			others[i] &^= first[i]
			break
		}
	}
	return first, others
}

// cores says on which cores the parts of a measurement run: the measured server on one core, the
// load on the others. On a machine with a single core, nothing is pinned.
type cores struct {
	all, server, load cpuSet
	pinned            bool
}

// shareCores moves this process to the load's cores.
func shareCores() (cores, error) {
	all, err := affinity(0)
	if err != nil {
		return cores{}, err
	}
	c := cores{all: all, server: all, load: all}
	if all.count() < 2 {
		return c, nil
	}
	c.pinned = true
	c.server, c.load = all.split()
	if err := pin(os.Getpid(), c.load); err != nil {
		return cores{}, err
	}
	// A thread that waits in the kernel until the next request is due still counts as running
	// in Go's scheduler, so allow more threads than cores.
	runtime.GOMAXPROCS(4 * c.load.count())
	return c, nil
}

// onAllCores runs part on all cores and on a stage of its own. It is for measurements within
// this process, which need no load from outside.
func (b *bench) onAllCores(part func()) {
	if b.cores.pinned {
		b.must(pin(os.Getpid(), b.cores.all))
		before := runtime.GOMAXPROCS(b.cores.all.count())
		defer func() {
			runtime.GOMAXPROCS(before)
			b.must(pin(os.Getpid(), b.cores.load))
		}()
	}
	b.within(part)
}

// start calls launch on a thread that is pinned to the given cores. A process that launch
// starts inherits the cores.
func (c cores) start(on cpuSet, launch func() error) error {
	if !c.pinned {
		return launch()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setAffinity(0, on); err != nil {
		return err
	}
	defer setAffinity(0, c.load)
	return launch()
}

// pin moves all threads of a process to the given cores.
func pin(process int, to cpuSet) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", process))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := setAffinity(id, to); err != nil && err != syscall.ESRCH { // ESRCH: the thread has ended
			return fmt.Errorf("pin thread %d: %w", id, err)
		}
	}
	return nil
}

// affinity returns the cores on which a thread may run; thread 0 is the calling one.
func affinity(thread int) (set cpuSet, err error) {
	_, _, errno := syscall.Syscall(syscall.SYS_SCHED_GETAFFINITY, uintptr(thread), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return set, errno
	}
	return set, nil
}

func setAffinity(thread int, set cpuSet) error {
	_, _, errno := syscall.Syscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(thread), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return errno
	}
	return nil
}
