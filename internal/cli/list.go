package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// listFlags are the flags of every list. A list is a table, or with --json one JSON object
// a line.
type listFlags struct {
	JSON bool `name:"json" help:"Print JSON, one object per line."`
}

// row is a line of a list. Programs read its JSON form: fields may be added, but the meaning
// of a field must not change.
type row interface {
	cells() []string // one for each column of the table
}

// listWriter writes the rows of a list.
type listWriter struct {
	table *tabwriter.Writer // nil: JSON
	lines *json.Encoder
}

// newWriter returns a writer to out. columns is the heading of the table.
func (f listFlags) newWriter(out io.Writer, columns ...string) *listWriter {
	if f.JSON {
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		return &listWriter{lines: lines}
	}
	l := &listWriter{table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	l.writeLine(columns)
	return l
}

func (l *listWriter) writeLine(cells []string) error {
	_, err := io.WriteString(l.table, strings.Join(cells, "\t")+"\n")
	return err
}

func (l *listWriter) add(r row) error {
	if l.table == nil {
		return l.lines.Encode(r)
	}
	return l.writeLine(r.cells())
}

// end writes the table. Until then the widths of its columns are unknown.
func (l *listWriter) end() error {
	if l.table == nil {
		return nil
	}
	return l.table.Flush()
}

// countOf returns n and the word for what is counted, such as "1 key" or "2 keys".
func countOf(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}
