// Package health holds the type in which the parts of the server report faults for
// /readyz. Which parts are checked, and when, is up to the callers.
package health

// Vital is the state of one thing that sign-ins depend on.
type Vital struct {
	Name  string
	Fault string // public text; empty if there is no fault
	Err   error  // the cause, to be logged; nil if it was logged elsewhere or is unknown
	Minor bool   // sign-ins work in spite of the fault
}
