// Package durable writes files that survive a power cut, and locks them.
//
// A file gets its content under a temporary name and its real name afterwards,
// so that no reader finds a half-written file:
//
//	file, err := durable.Create(dir) // a temporary name
//	defer file.Discard()             // removes the file if it hasn't got its name
//	file.Write(content)              // and Chown, where another user reads it
//	err = file.Replace(path)         // or Publish, where the name must be new
//
// Replace and Publish sync the content before they give the file its name, and
// sync the directory afterwards. Without the first sync, a power cut could leave
// an empty file under the name. Without the second, it could bring the earlier
// file back after Replace has returned nil.
//
// A process that is killed leaves files with temporary names;
// [RemoveLeftovers] removes them a day later.
//
// The locks are those of flock(2). The kernel releases them when the process ends in any way, so
// a killed process leaves no lock. They work between the processes of one machine.
package durable
