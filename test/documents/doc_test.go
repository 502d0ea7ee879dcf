// Package documents tests that the documents say what is true: their links and commands,
// and the files of deploy.
package documents
