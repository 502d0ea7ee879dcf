// Command reference is the smallest program of the same kind as Sallyport: a server with a page,
// a log and a database. The bench compares the processor time to compile both. This program is
// never run.
package main

import (
	"database/sql"
	"html/template"
	"log/slog"
	"net/http"
	"os"

	_ "modernc.org/sqlite"
)

var page = template.Must(template.New("page").Parse(`<!doctype html><title>{{.}}</title>`))

func main() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		slog.Error("open", "error", err)
		os.Exit(1)
	}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var title string
		if err := db.QueryRowContext(r.Context(), "SELECT 'reference'").Scan(&title); err != nil {
			slog.Error("read", "error", err)
		}
		page.Execute(w, title)
	})
	slog.Error("serve", "error", http.ListenAndServe("127.0.0.1:0", nil))
}
