// Package telling tests that owners are told of what happens to their accounts.
package telling
