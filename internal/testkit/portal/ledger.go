package portal

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Try is an entry of the ledger.
type Try struct {
	At    time.Time
	Units int
}

// Ledger returns what a bucket of the account with this name has, by the id of the device.
func Ledger(t *testing.T, p *Portal, name, bucket string) map[string][]Try {
	t.Helper()
	type row struct {
		subject string
		times   []byte
	}
	rows, err := db.All(context.Background(), p.DB.Reader(), `SELECT subject, times FROM ledger WHERE bucket = $1 AND account_id = (SELECT id FROM accounts WHERE name = $2)`,
		[]any{bucket, name}, func(scan db.Scan) (r row, err error) {
			return r, scan(&r.subject, &r.times)
		})
	if err != nil {
		t.Fatal(err)
	}
	const entry = 23 // id (4), Unix milliseconds (8), units (2), owned (1), tag (8)
	tries := map[string][]Try{}
	for _, r := range rows {
		for b := r.times; len(b) >= entry; b = b[entry:] {
			tries[r.subject] = append(tries[r.subject], Try{
				At: time.UnixMilli(int64(binary.BigEndian.Uint64(b[4:]))), Units: int(binary.BigEndian.Uint16(b[12:])),
			})
		}
	}
	return tries
}

// UnitsUsed returns the sum of the units in a bucket of the account name, over all devices.
func UnitsUsed(t *testing.T, p *Portal, name, bucket string) int {
	t.Helper()
	n := 0
	for _, tries := range Ledger(t, p, name, bucket) {
		for _, one := range tries {
			n += one.Units
		}
	}
	return n
}
