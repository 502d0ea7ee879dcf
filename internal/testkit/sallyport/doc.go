// Package sallyport builds the program, starts it as a separate process, and sends it the
// requests of users over HTTP.
package sallyport
