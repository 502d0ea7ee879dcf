// Package telling tests the notices to owners about events of their accounts.
package telling
