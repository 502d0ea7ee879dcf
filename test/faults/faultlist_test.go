package faults

import (
	"slices"
	"syscall"

	"github.com/sallyport/sallyport/internal/testkit"
)

// fault is a fault and its repair.
type fault struct {
	name      string
	tolerated bool // users can sign in before the repair
	deaf      bool // the node serves requests, but gets no notifications of changes
	harm      func(s *ordeal, n *node) (mend func())
}

// onWires returns a fault of a node's connections to the database.
func onWires(name string, f testkit.Fault) fault {
	return fault{name: name, harm: func(_ *ordeal, n *node) func() {
		n.setFault(f)
		return func() { n.setFault(testkit.Whole) }
	}}
}

// onListening returns a fault of the connections with which a node listens for changes.
func onListening(name string, f testkit.Fault) fault {
	return fault{name: name, deaf: true, harm: func(_ *ordeal, n *node) func() {
		n.setListenFault(f)
		return func() { n.setListenFault(testkit.Whole) }
	}}
}

// faultNamed returns the fault with this name.
func faultNamed(name string) fault {
	return everyFault[slices.IndexFunc(everyFault, func(f fault) bool { return f.name == name })]
}

// everyFault lists the faults of nodes and of their database.
var everyFault = []fault{
	{name: nothingHappens, tolerated: true, harm: func(*ordeal, *node) func() { return func() {} }},
	onWires("a node cut off", testkit.Cut),
	onWires("a node that nothing reaches", testkit.Held),
	onWires("a slow network", testkit.Slow),
	onWires("answers to commits lost", testkit.Forgetful),
	onWires("commits on their way", testkit.Interrupted),
	onListening("a listener cut", testkit.Cut),
	onListening("a deaf listener", testkit.Held),
	{name: "a frozen node", harm: func(_ *ordeal, n *node) func() {
		n.Cmd.Process.Signal(syscall.SIGSTOP)
		return func() { n.Cmd.Process.Signal(syscall.SIGCONT) }
	}},
	{name: "a killed node", harm: func(_ *ordeal, n *node) func() {
		n.Kill()
		return n.start
	}},
	{name: "a frozen database", harm: func(s *ordeal, _ *node) func() {
		s.primary.Freeze()
		return s.primary.Thaw
	}},
	{name: "a killed database", harm: func(s *ordeal, _ *node) func() {
		s.primary.Kill()
		return func() { s.primary.Restart(s.T) }
	}},
	{name: "a frozen standby", harm: func(s *ordeal, _ *node) func() {
		s.standby.Freeze()
		return s.standby.Thaw
	}},
	{name: lostPrimary, tolerated: true, harm: func(s *ordeal, _ *node) func() {
		old := s.primary
		old.Kill()
		return s.failOver(old)
	}},
	{name: "a primary that vanished", tolerated: true, harm: func(s *ordeal, _ *node) func() {
		old := s.primary
		old.Freeze()
		return s.failOver(old)
	}},
}

// failOver makes the standby the primary, as an operator's tools do. The repair starts another
// standby.
func (s *ordeal) failOver(old *testkit.Postgres) (mend func()) {
	s.primary = s.standby
	s.primary.Promote(s.T)
	s.nodes[0].wires[0].MoveTo(s.primary.Address())
	return func() {
		old.Kill()
		s.standby = s.primary.Standby(s.T)
		for _, n := range s.nodes[1:] {
			n.wires[0].MoveTo(s.standby.Address())
			n.wires[0], n.wires[1] = n.wires[1], n.wires[0]
		}
	}
}
