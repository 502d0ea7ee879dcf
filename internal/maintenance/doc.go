// Package maintenance is what operators do to a portal's database and key ring
// as a whole: backup, restore, and rotation of the keys. It needs no server; the
// commands run it beside one, or while none runs.
//
//   - [Backup] writes a copy of an SQLite database to a new file, once every
//     sealed secret in the copy was opened with the key ring: a backup that the
//     ring doesn't open is none. [Schedule] makes backups for a server.
//   - [Restore] makes a database of a backup. A backup has forgotten what was used
//     or ended since, so [PurgeForgotten] ends all of it: sessions, passes, links
//     and used codes (F13). After pg_restore it is called alone.
//   - [Keys] adds a key to the ring, rotates to it, and drops old keys. A rotation
//     waits until every live node has reported the new key ([Reporter]), hands the
//     audit log over to it, and then seals every secret under it, in batches: a
//     rotation that was killed goes on where it stopped.
//
// The packages of the authenticators own the sealed columns; sealedColumns lists
// them all.
package maintenance
