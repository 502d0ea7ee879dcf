package db

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// At is a time in the form in which the database stores it: Unix milliseconds in
// a BIGINT, NULL for the zero time. It is read back in UTC.
type At struct{ time.Time }

// Value implements [driver.Valuer].
func (t At) Value() (driver.Value, error) {
	if t.IsZero() {
		return nil, nil
	}
	return t.UnixMilli(), nil
}

// Scan implements [database/sql.Scanner].
func (t *At) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		t.Time = time.Time{}
	case int64:
		t.Time = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("time column holds %T, not milliseconds", src)
	}
	return nil
}
