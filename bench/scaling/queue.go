package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
)

// station is a set of cores with one FIFO queue. Times are in seconds.
type station struct{ free []float64 } // the time at which each core is free

func newStation(cores int) *station { return &station{make([]float64, cores)} }

// serve adds a job that arrives at the time now, after all earlier jobs, and occupies a core for
// the time takes. It returns the time at which the job is done.
func (s *station) serve(now, takes float64) (done float64) {
	first := 0
	for i := range s.free {
		if s.free[i] < s.free[first] {
			first = i
		}
	}
	s.free[first] = max(now, s.free[first]) + takes
	return s.free[first]
}

// step is a part of a job: a time on a core of a station, then a wait that occupies no
// core.
type step struct {
	at    *station
	takes float64
	wait  float64
}

// load says which jobs arrive. If clients is 0, perSecond jobs a second arrive at random times.
// Otherwise each client starts one job, and the next one when that is done.
type load struct {
	perSecond float64
	clients   int
	steps     func(*rand.Rand) []step
}

// outcome is the result of a simulation.
type outcome struct {
	perSecond float64
	took      []float64 // the time of each job, sorted
	ends      []float64 // the time at which each job was done, in order
}

// percentile returns the time within which p of a hundred jobs were done.
func (o outcome) percentile(p float64) float64 { return o.took[int(p/100*float64(len(o.took)-1))] }

type job struct {
	now, start float64
	left       []step
}

type jobs []*job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].now < j[b].now }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(one any)      { *j = append(*j, one.(*job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	return last
}

// simulate runs n jobs and returns the outcome of all but the first tenth, which find the
// stations empty. The same seed gives the same outcome.
func (l load) simulate(n int, seed uint64) outcome {
	rng := rand.New(rand.NewPCG(seed, 0))
	var pending jobs
	arrive := func(now float64) { heap.Push(&pending, &job{now: now, start: now, left: l.steps(rng)}) }
	for range max(l.clients, 1) {
		arrive(0)
	}
	arrived, warmUntil := len(pending), 0.0
	var o outcome
	for done := 0; done < n; {
		one := heap.Pop(&pending).(*job)
		if l.clients == 0 && one.now == one.start && arrived <= n+len(pending) {
			arrived++
			arrive(one.now + rng.ExpFloat64()/l.perSecond)
		}
		if len(one.left) > 0 {
			next := one.left[0]
			one.now, one.left = next.at.serve(one.now, next.takes)+next.wait, one.left[1:]
			heap.Push(&pending, one)
			continue
		}
		if done++; done == n/10 {
			warmUntil = one.now
		} else if done > n/10 {
			o.took, o.ends = append(o.took, one.now-one.start), append(o.ends, one.now)
		}
		if l.clients > 0 {
			arrive(one.now)
		}
	}
	o.perSecond = float64(len(o.took)) / (o.ends[len(o.ends)-1] - warmUntil)
	slices.Sort(o.took)
	return o
}
