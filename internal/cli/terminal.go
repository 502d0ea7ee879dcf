package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether stream, a field of [Streams], is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ) // fails unless file is a terminal
	return err == nil
}
