// Package sallyport builds the program, starts it as a separate process, and acts as the
// users who send it requests over HTTP.
package sallyport
