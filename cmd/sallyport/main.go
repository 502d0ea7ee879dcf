// Command sallyport puts a password and a six-digit code in front of any web
// panel.
package main

import (
	"os"

	"github.com/sallyport/sallyport/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Environ()))
}
