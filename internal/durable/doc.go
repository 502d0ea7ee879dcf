// Package durable writes files that survive a power cut, and locks them.
//
// A file gets its content under a temporary name and its real name afterwards,
// so that a reader finds the whole file or none:
//
//	file, err := durable.Create(dir) // a temporary name
//	defer file.Discard()             // removes what didn't become a file
//	file.Write(content)              // and Chown, where another user reads it
//	err = file.Replace(path)         // or Publish, where the name must be new
//
// Replace and Publish sync the content before they give the file its name, and
// sync the directory afterwards. Without the first a power cut may leave an
// empty file under the name; without the second it may leave the earlier file,
// or none, although the caller was told that the new one is there.
//
// A process that is killed leaves files with temporary names;
// [RemoveLeftovers] removes them a day later.
//
// The locks are those of flock(2): the kernel releases them with the process,
// however it ends, so that none is ever left over. They work between the
// processes of one machine.
package durable
