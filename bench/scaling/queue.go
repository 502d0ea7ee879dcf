package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
)

// station is cores that take the first who waits. Times are in seconds.
type station struct{ free []float64 } // when each is free

func newStation(cores int) *station { return &station{make([]float64, cores)} }

// serve returns when somebody who comes now, after all before, is done.
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

// stop is a part of somebody's way: a time at a station, and then a wait that keeps
// nobody else.
type stop struct {
	at    *station
	takes float64
	wait  float64
}

// load is who comes: so many a second, or so many clients, each of whom comes again
// when done.
type load struct {
	perSecond float64
	clients   int
	way       func(*rand.Rand) []stop
}

// outcome is what became of them.
type outcome struct {
	perSecond float64
	took      []float64 // sorted
	ends      []float64 // in order
}

// percentile returns the time within which so many of a hundred were done.
func (o outcome) percentile(p float64) float64 { return o.took[int(p/100*float64(len(o.took)-1))] }

type job struct {
	now, begin float64
	left       []stop
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

// play lets so many come and looks at all but the first tenth, which find the
// stations empty. The same seed plays the same.
func (l load) play(many int, seed uint64) outcome {
	rng := rand.New(rand.NewPCG(seed, 0))
	var waiting jobs
	come := func(now float64) { heap.Push(&waiting, &job{now: now, begin: now, left: l.way(rng)}) }
	for range max(l.clients, 1) {
		come(0)
	}
	came, begun := len(waiting), 0.0
	var o outcome
	for done := 0; done < many; {
		one := heap.Pop(&waiting).(*job)
		if l.clients == 0 && one.now == one.begin && came <= many+len(waiting) {
			came++
			come(one.now + rng.ExpFloat64()/l.perSecond)
		}
		if len(one.left) > 0 {
			next := one.left[0]
			one.now, one.left = next.at.serve(one.now, next.takes)+next.wait, one.left[1:]
			heap.Push(&waiting, one)
			continue
		}
		if done++; done == many/10 {
			begun = one.now
		} else if done > many/10 {
			o.took, o.ends = append(o.took, one.now-one.begin), append(o.ends, one.now)
		}
		if l.clients > 0 {
			come(one.now)
		}
	}
	o.perSecond = float64(len(o.took)) / (o.ends[len(o.ends)-1] - begun)
	slices.Sort(o.took)
	return o
}
