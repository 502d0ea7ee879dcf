package disk

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite accesses its files through a table of C functions, the VFS. Each open file
// points to a second table, its methods ("The OS Interface or VFS" in SQLite's manual).
// This package registers a copy of the default VFS in which a few functions are replaced.
// Files that are not under a mounted disk keep SQLite's own methods.

// mounted is global because SQLite's list of VFSs is.
var mounted = struct {
	sync.RWMutex
	vfs     *sqlite3.Tsqlite3_vfs // the copy; nil until the first disk
	below   uintptr               // SQLite's default VFS
	disks   []*Disk
	files   map[uintptr]*file   // by the address of SQLite's struct
	methods map[uintptr]uintptr // the copy of each of SQLite's method tables, by their addresses
}{files: map[uintptr]*file{}, methods: map[uintptr]uintptr{}}

// file is an open file on a disk.
type file struct {
	disk *Disk
	path string
	own  *sqlite3.Tsqlite3_io_methods // SQLite's own methods
}

// C function types, in the form of the transpiled library.
type (
	openFunc   = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	deleteFunc = func(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32
	closeFunc  = func(tls *libc.TLS, file uintptr) int32
	moveFunc   = func(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 // read, write
	cutFunc    = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc   = func(tls *libc.TLS, file uintptr, flags int32) int32
	sizeFunc   = func(tls *libc.TLS, file, size uintptr) int32
)

// fromC returns a pointer to the T at a C address. go vet forbids converting the address
// directly, since that is wrong for Go's own memory.
func fromC[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// pointer returns a C function pointer to a top-level function. Both C and Go represent
// a function by the address of a word that holds the address of its code.
func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// function is the inverse of [pointer]: it returns the function at a C function pointer.
func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

// mount makes this package's VFS the default and adds d to its disks.
func mount(d *Disk) error {
	mounted.Lock()
	defer mounted.Unlock()
	if mounted.vfs == nil {
		if err := register(); err != nil {
			return err
		}
	}
	mounted.disks = append(mounted.disks, d)
	return nil
}

func register() error {
	tls := libc.NewTLS()
	defer tls.Close()
	below := sqlite3.Xsqlite3_vfs_find(tls, 0)
	if below == 0 {
		return fmt.Errorf("SQLite has no file system")
	}
	// C memory is never moved or freed while the process runs.
	address := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	name, err := libc.CString("testdisk")
	if err != nil {
		return err
	}
	vfs := fromC[sqlite3.Tsqlite3_vfs](address)
	*vfs = *fromC[sqlite3.Tsqlite3_vfs](below)
	vfs.FpNext, vfs.FzName = 0, name
	vfs.FxOpen, vfs.FxDelete = pointer[openFunc](open), pointer[deleteFunc](remove)
	if code := sqlite3.Xsqlite3_vfs_register(tls, address, 1); code != sqlite3.SQLITE_OK {
		return fmt.Errorf("register a file system: SQLite's error %d", code)
	}
	mounted.vfs, mounted.below = vfs, below
	return nil
}

func unmount(d *Disk) {
	mounted.Lock()
	defer mounted.Unlock()
	for i, one := range mounted.disks {
		if one == d {
			mounted.disks = append(mounted.disks[:i], mounted.disks[i+1:]...)
			return
		}
	}
}

// diskOf returns the disk that path is on, or nil.
func diskOf(path string) *Disk {
	mounted.RLock()
	defer mounted.RUnlock()
	for _, d := range mounted.disks {
		if strings.HasPrefix(path, d.dir+string(filepath.Separator)) {
			return d
		}
	}
	return nil
}

func fileAt(address uintptr) *file {
	mounted.RLock()
	defer mounted.RUnlock()
	return mounted.files[address]
}

func open(tls *libc.TLS, _, name, address uintptr, flags int32, outFlags uintptr) int32 {
	own := fromC[sqlite3.Tsqlite3_vfs](mounted.below)
	var d *Disk
	if name != 0 { // 0 for a temporary file
		d = diskOf(libc.GoString(name))
	}
	if d != nil && d.isReadOnly() {
		flags = flags&^(sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE) | sqlite3.SQLITE_OPEN_READONLY
	}
	code := function[openFunc](own.FxOpen)(tls, mounted.below, name, address, flags, outFlags)
	if code != sqlite3.SQLITE_OK || d == nil {
		return code
	}
	methods := fromC[uintptr](address) // the first word of an open file points to its methods
	f := &file{disk: d, path: libc.GoString(name), own: fromC[sqlite3.Tsqlite3_io_methods](*methods)}
	mounted.Lock()
	replaced, known := mounted.methods[*methods]
	if !known {
		replaced = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})))
		table := fromC[sqlite3.Tsqlite3_io_methods](replaced)
		*table = *f.own
		table.FxClose, table.FxWrite = pointer[closeFunc](closeFile), pointer[moveFunc](write)
		table.FxTruncate, table.FxSync = pointer[cutFunc](truncate), pointer[syncFunc](syncFile)
		mounted.methods[*methods] = replaced
	}
	mounted.files[address] = f
	*methods = replaced
	mounted.Unlock()
	d.opened(f.path, func() []byte { return f.content(tls, address) })
	return code
}

func remove(tls *libc.TLS, _, name uintptr, syncDir int32) int32 {
	path := libc.GoString(name)
	d := diskOf(path)
	if d != nil && d.isReadOnly() {
		return sqlite3.SQLITE_IOERR_DELETE
	}
	code := function[deleteFunc](fromC[sqlite3.Tsqlite3_vfs](mounted.below).FxDelete)(tls, mounted.below, name, syncDir)
	if code == sqlite3.SQLITE_OK && d != nil {
		d.deleted(path)
	}
	return code
}

func closeFile(tls *libc.TLS, address uintptr) int32 {
	f := fileAt(address)
	mounted.Lock()
	delete(mounted.files, address)
	mounted.Unlock()
	return function[closeFunc](f.own.FxClose)(tls, address)
}

func write(tls *libc.TLS, address, buffer uintptr, n int32, offset int64) int32 {
	f := fileAt(address)
	code, half := f.disk.writeResult(sqlite3.SQLITE_IOERR_WRITE)
	switch {
	case half:
		n /= 2
	case code != sqlite3.SQLITE_OK:
		return code
	}
	if own := function[moveFunc](f.own.FxWrite)(tls, address, buffer, n, offset); own != sqlite3.SQLITE_OK {
		return own
	}
	f.disk.changed(f.path, change{offset, append([]byte{}, unsafe.Slice(fromC[byte](buffer), n)...)})
	return code
}

// truncate replaces SQLite's xTruncate. It takes no space, so it succeeds on a full disk.
func truncate(tls *libc.TLS, address uintptr, size int64) int32 {
	f := fileAt(address)
	if code, _ := f.disk.writeResult(sqlite3.SQLITE_IOERR_TRUNCATE); code != sqlite3.SQLITE_OK && code != sqlite3.SQLITE_FULL {
		return code
	}
	code := function[cutFunc](f.own.FxTruncate)(tls, address, size)
	if code == sqlite3.SQLITE_OK {
		f.disk.changed(f.path, change{offset: size})
	}
	return code
}

// syncFile replaces SQLite's xSync. It takes no space, so it succeeds on a full disk. It doesn't
// sync the real file: [Disk.PowerCut] only needs to know that SQLite asked for it.
func syncFile(_ *libc.TLS, address uintptr, _ int32) int32 {
	f := fileAt(address)
	if code, _ := f.disk.writeResult(sqlite3.SQLITE_IOERR_FSYNC); code != sqlite3.SQLITE_OK && code != sqlite3.SQLITE_FULL {
		return code
	}
	f.disk.sync(f.path)
	return sqlite3.SQLITE_OK
}

// content reads the file through SQLite's own handle. Opening and closing the file a
// second time would release the locks that this process holds on it.
func (f *file) content(tls *libc.TLS, address uintptr) []byte {
	size := tls.Alloc(8)
	defer tls.Free(8)
	if function[sizeFunc](f.own.FxFileSize)(tls, address, size) != sqlite3.SQLITE_OK {
		return nil
	}
	n := int32(*fromC[int64](size))
	if n == 0 {
		return nil
	}
	buffer := libc.Xmalloc(tls, libc.Tsize_t(n))
	defer libc.Xfree(tls, buffer)
	if function[moveFunc](f.own.FxRead)(tls, address, buffer, n, 0) != sqlite3.SQLITE_OK {
		return nil
	}
	return append([]byte(nil), unsafe.Slice(fromC[byte](buffer), n)...)
}
