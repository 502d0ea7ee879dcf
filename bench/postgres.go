package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/testkit"
)

func (b *bench) startPostgres() string {
	dir := b.TempDir()
	var stop func()
	var url string
	b.must(b.cores.start(b.cores.server, func() error {
		u, end, err := testkit.StartPostgres(dir,
			"fsync=on", "logging_collector=on", "log_directory="+filepath.Join(dir, "data", "log"), "log_filename=log", "log_destination=jsonlog", "log_min_messages=log")
		stop = end
		url = u
		os.Setenv(testkit.PostgresVariable, url)
		return err
	}))
	b.Cleanup(stop)
	return url
}

func (b *bench) codesOnPostgres() {
	super, _ := sql.Open("pgx", b.startPostgres())
	p := b.newPeople("postgres")
	p.prepare()
	p.prepare()
	ex := func(q string) {
		_, err := super.Exec(q)
		b.must(err)
	}
	ex("ALTER SYSTEM SET log_statement = 'all'")
	ex("SELECT pg_reload_conf()")
	ex("SELECT pg_sleep(1)")
	b.must(p.right(0))
	ex("SELECT 'wrong'")
	b.must(p.wrong(1))
	m, _ := filepath.Glob("/tmp/sallyport-bench-*/data/log/*")
	fmt.Println(m)
	for _, f := range m {
		t, _ := os.ReadFile(f)
		os.WriteFile("/tmp/pglog.json"+filepath.Ext(f), t, 0o644)
	}
}
