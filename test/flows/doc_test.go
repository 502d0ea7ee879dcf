// Package flows runs scripts that show what the product does: each file of this folder
// reads like the thing it describes.
package flows
