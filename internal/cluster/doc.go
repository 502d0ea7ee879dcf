// Package cluster keeps a list of the servers on one database, which are called nodes, and runs
// work that only one of them may do at a time. It owns the tables leases and nodes.
//
// A [Job] runs at intervals on every node. A job with Alone runs on one node at a time. Before
// each run a node takes the job's lease, which is a row with the node's id and an end. A node
// doesn't run the job while another node holds the lease. The holder renews it at its next run, so
// that the work stays with that node. When the node dies, its lease ends after three intervals of
// the job, and another node takes over. A node that stops ends its leases at once.
//
// Leases only save work: the clocks of nodes may differ, and a node that froze may
// wake up after its lease has ended. Work that must happen once needs a condition
// of its own in the database.
//
// [Report] records that a node is alive and which keys its ring has; [Nodes] lists
// the live nodes. A rotation of keys waits until all of them have the new key.
//
// While nodes are upgraded one after the other, a newer node must not store what the older ones
// can't read. A [Word] stands for a kind of data that a version introduced. Each report lists the
// words that the node's program knows, and [Use] permits such data only when every node knows its
// word. From then on older programs can neither start on the database nor continue; until then
// the upgrade can be taken back.
package cluster
