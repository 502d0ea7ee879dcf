package main

import (
	"os"
	"os/exec"
	"time"
)

// firstCompilation compares the processor time that a first "go run" needs to compile Sallyport
// with the time to compile the program in bench/reference.
func (b *bench) firstCompilation() {
	ours, bare := b.compile("./cmd/sallyport"), b.compile("./bench/reference")
	b.add(row{what: "Processor time to compile everything, as a first go run does", unit: "s", got: ours.Seconds(), bare: bare.Seconds(), ratio: ours.Seconds() / bare.Seconds(), target: atMost(1.45)})
}

// compile returns the processor time to compile and link a package and all that it imports,
// including the standard library. The modules have been downloaded before.
func (b *bench) compile(path string) (took time.Duration) {
	b.within(func() {
		build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", b.TempDir(), path) // go run leaves the symbols out, too
		build.Dir, build.Env = b.root(), append(os.Environ(), "GOCACHE="+b.TempDir())
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("go build %s: %v\n%s", path, err, out)
		}
		// The times include those of the compilers, for which go has waited.
		took = build.ProcessState.UserTime() + build.ProcessState.SystemTime()
	})
	return took
}
