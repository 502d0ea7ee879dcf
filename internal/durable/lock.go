package durable

import (
	"errors"
	"os"
	"syscall"
)

// ErrLocked: another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")

// Lock locks an open file until it is closed, or returns [ErrLocked].
func Lock(f *os.File) error { return tryLock(f, syscall.LOCK_EX) }

// IsLocked reports whether another process has locked an open file. If no process has, IsLocked
// takes a shared lock, with which [Lock] fails in other processes until the caller closes the
// file.
func IsLocked(f *os.File) (bool, error) {
	err := tryLock(f, syscall.LOCK_SH)
	if errors.Is(err, ErrLocked) {
		return true, nil
	}
	return false, err
}

func tryLock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// LockDir opens a directory and locks it until the caller closes it. It waits while another
// process holds the lock. Lock the directory, not the file, if the file will be replaced: the
// lock of a file would stay with the earlier file.
func LockDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}
