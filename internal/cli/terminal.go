package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether a person reads or types there: stream is one of [Streams].
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ) // only terminals have a size
	return err == nil
}
