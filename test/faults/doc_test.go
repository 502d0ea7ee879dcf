// Package faults tests three nodes on a PostgreSQL database with a synchronous standby while
// nodes, networks, disks and databases fail.
package faults
