// Package sallyport builds the program, starts it as a process of its own, and plays
// the people who use it over HTTP.
package sallyport
