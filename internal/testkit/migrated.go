package testkit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// MigratedURL returns the URL of a new database of the engine with today's schema. It copies
// a database that is migrated already, since a short test would spend most of its time on
// migrating its own. SQLite's file is sallyport.db in dir. The database is removed at the end
// of the test.
func MigratedURL(t testing.TB, engine, dir string) string {
	t.Helper()
	if engine == "postgres" {
		return postgresURL(t, postgresTemplate(t))
	}
	file, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sallyport.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// sqliteTemplate returns the bytes of a migrated SQLite database.
var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sallyport-template")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sallyport.db")
	if err := migrate("sqlite:" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// MakeSchema gives an empty database the schema of an earlier program. version is the version
// of that schema. The parameter d is of [database/sql], since package db would migrate the
// database to today's schema.
func MakeSchema(t testing.TB, d *sql.DB, version int) {
	t.Helper()
	files, err := filepath.Glob(Path("internal/db/migrations/*.sql"))
	if err != nil || len(files) < version {
		t.Fatalf("found %d migrations, %v; want at least %d", len(files), err, version)
	}
	statements := []string{
		`CREATE TABLE schema (version BIGINT NOT NULL, usable_since BIGINT NOT NULL)`,
		fmt.Sprintf(`INSERT INTO schema (version, usable_since) VALUES (%[1]d, %[1]d)`, version),
	}
	for _, file := range files[:version] {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// As in package db: SQLite has no such collation, and compares bytes without one.
		plain := strings.ReplaceAll(string(text), ` COLLATE "C"`, "")
		statements = append(statements, strings.Split(plain, ";\n")...)
	}
	for _, statement := range statements {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := d.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// OldDatabase returns the URL of a new database of the engine that has the schema of an earlier
// program (see [MakeSchema]) and that fill has filled. It is removed at the end of the test.
func OldDatabase(t testing.TB, engine string, version int, fill func(d *sql.DB)) string {
	t.Helper()
	rawURL := DatabaseURL(t, engine)
	driver, name := "pgx", rawURL
	if path, ok := strings.CutPrefix(rawURL, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+path
	}
	d, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	MakeSchema(t, d, version)
	fill(d)
	return rawURL
}

func migrate(rawURL string) error {
	d, err := db.Open(context.Background(), rawURL)
	if err != nil {
		return err
	}
	return d.Close()
}

// postgresTemplate returns the name of a migrated PostgreSQL database to copy. The name contains
// a hash of the migrations, so that all test processes on a server share one such database.
func postgresTemplate(t testing.TB) string {
	t.Helper()
	name, err := findPostgresTemplate()
	if err != nil {
		t.Fatalf("make a migrated database: %v", err)
	}
	return name
}

// templateLock is the PostgreSQL advisory lock that a process holds while it makes the template.
const templateLock = 7_220_614

var findPostgresTemplate = sync.OnceValues(func() (string, error) {
	files, err := filepath.Glob(Path("internal/db/migrations/*.sql"))
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	name := "migrated_" + hex.EncodeToString(hash.Sum(nil)[:8])

	ctx, server := context.Background(), os.Getenv(PostgresVariable)
	admin, err := sql.Open("pgx", server)
	if err != nil {
		return "", err
	}
	defer admin.Close()
	conn, err := admin.Conn(ctx) // the lock belongs to one connection
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
		return "", err
	}
	defer conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", templateLock)
	var exists bool
	if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
		return name, err
	}
	unfinished := name + "_unfinished" // may exist already, from a process that was killed
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + unfinished, "CREATE DATABASE " + unfinished} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return "", err
		}
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/" + unfinished
	if err := migrate(u.String()); err != nil {
		return "", err
	}
	// PostgreSQL takes a moment to notice that the connections have ended. Until then, RENAME fails.
	for range 100 {
		if _, err = conn.ExecContext(ctx, fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", unfinished, name)); err == nil {
			return name, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "", err
})
