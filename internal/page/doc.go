// Package page has what the pages of every door have in common.
package page
