package faults

const (
	// waitingAtOnce are more than a node has connections.
	waitingAtOnce = 24

	// fullOf events fill more than a megabyte; see [testkit.Postgres.FillDisk].
	fullOf = 10000
)
