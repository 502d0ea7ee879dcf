// Package panels has the panels that tests put behind a portal, the configuration
// that declares them, and what people and scripts do at a panel.
package panels
