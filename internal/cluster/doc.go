// Package cluster lets the servers on one database know of each other, and
// gives work for all of them to one. It owns the tables leases and nodes.
//
// A [Job] runs again and again on every node. A job that is to run on one node
// at a time is Alone: before each run the node takes a lease, a row that names
// the node and a time, and doesn't run the job while another node's lease lasts.
// The node that has a lease renews it at its next run, so that the work stays
// with it. When the node dies, its lease ends after three pauses of the job and
// another node takes over; a node that stops ends its leases at once.
//
// Leases only save work: the clocks of nodes may differ, and a node that froze may
// wake up after its lease has ended. Work that must happen once needs a condition
// of its own in the database.
//
// [Report] records that a node is alive and which keys its ring has; [Nodes] lists
// the live nodes. A rotation of keys waits until all of them have the new key.
//
// While nodes are upgraded one after the other, a newer node must not store what the older ones
// can't read. Each report has the words that the node knows, and [Use] permits what a [Word]
// stands for only when every node knows it. From then on older programs can't start on the
// database, nor report; until then the upgrade can be taken back.
package cluster
