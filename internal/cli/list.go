package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// listing is what every list prints: a table, or with --json one JSON object a line.
type listing struct {
	JSON bool `name:"json" help:"Print JSON, one object per line."`
}

// row is a line of a list. Its JSON form is read by programs: fields may be added, none
// changes its meaning.
type row interface {
	cells() []string // as the columns of the table
}

// list writes rows as they come.
type list struct {
	table *tabwriter.Writer // nil: JSON
	lines *json.Encoder
}

func (f listing) to(out io.Writer, columns ...string) *list {
	if f.JSON {
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		return &list{lines: lines}
	}
	l := &list{table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	l.line(columns)
	return l
}

func (l *list) line(cells []string) error {
	_, err := io.WriteString(l.table, strings.Join(cells, "\t")+"\n")
	return err
}

func (l *list) add(r row) error {
	if l.table == nil {
		return l.lines.Encode(r)
	}
	return l.line(r.cells())
}

// end writes what is left of the table.
func (l *list) end() error {
	if l.table == nil {
		return nil
	}
	return l.table.Flush()
}

// count returns a number with what is counted.
func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}
