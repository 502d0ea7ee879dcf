package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// stage implements [testing.TB] for internal/testkit, so that measurements start portals
// and databases as tests do. An error ends the whole run, since an incomplete measurement is
// worthless.
type stage struct {
	testing.TB // nil; provides the unexported method, and no other method of it is called

	ctx      context.Context
	mu       sync.Mutex
	cleanups []func()
}

// failure is the value with which [stage.Fatal] panics.
type failure struct{ reason string }

func (*stage) Helper() {}

func (s *stage) Context() context.Context { return s.ctx }

func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	s.must(err)
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (*stage) Fatal(args ...any) { panic(failure{fmt.Sprint(args...)}) }

func (*stage) Fatalf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

func (s *stage) Error(args ...any) { s.Fatal(args...) }

func (s *stage) Errorf(format string, args ...any) { s.Fatalf(format, args...) }

func (s *stage) must(err error) {
	if err != nil {
		s.Fatal(err)
	}
}

// within runs part on a stage of its own, whose clean-ups run when part returns.
func (b *bench) within(part func()) {
	outer, inner := b.stage, &stage{ctx: b.ctx}
	outer.Cleanup(inner.end) // in case an interrupt ends the run
	b.stage = inner
	defer func() { b.stage = outer }()
	defer inner.end()
	part()
}

// end runs the clean-ups, the last one first.
func (s *stage) end() {
	s.mu.Lock()
	all := s.cleanups
	s.cleanups = nil
	s.mu.Unlock()
	for _, f := range slices.Backward(all) {
		f()
	}
}
