// Package maintenance backs up and restores a portal's database, and rotates the
// keys of its key ring. It needs no server: commands can call it whether or not a
// server is running.
//
//   - [Backup] writes a copy of an SQLite database to a new file. First it opens every sealed
//     secret in the copy with the key ring, since a backup is useless without its ring.
//     [Schedule] makes backups for a server.
//   - [Restore] creates a database from a backup. The backup doesn't know what was
//     used or revoked since it was made, so [PurgeForgotten] removes all of that:
//     sessions, passes, links and used codes (F13). After pg_restore, the command
//     only calls PurgeForgotten.
//   - [Keys] adds a key to the ring, rotates to it, and drops old keys. A rotation
//     waits until every live node has reported the new key ([Reporter]), hands the
//     audit log over to that key, and then seals every secret under it, in batches. A
//     rotation that was killed continues where it stopped.
//
// The packages of the authenticators own the sealed columns; sealedColumns lists
// them all.
package maintenance
