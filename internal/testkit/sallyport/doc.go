// Package sallyport builds the program, runs it as a process, and simulates its users over
// HTTP.
package sallyport
