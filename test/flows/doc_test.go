// Package flows runs the scripts in this folder, which show what the product does. [TestFlows]
// lists their commands.
package flows
