package faults

const (
	// waitingAtOnce is the number of sign-ins that wait at once, more than a node has connections.
	waitingAtOnce = 24

	// fullOf is a number of events that need more than a megabyte; see
	// [testkit.Postgres.FillDisk].
	fullOf = 10000
)
