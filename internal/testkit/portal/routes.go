package portal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// Route is one line of internal/web/routes.go.
type Route struct{ Method, Path, Needs string }

// Routes reads the list of routes from its source, so that tests cover a new route without
// being changed.
func Routes(t *testing.T) []Route {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), testkit.Path("internal/web/routes.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []Route
	ast.Inspect(file, func(n ast.Node) bool {
		line, ok := n.(*ast.CompositeLit)
		if !ok || line.Type != nil || len(line.Elts) != 3 {
			return true
		}
		pattern, ok := line.Elts[0].(*ast.BasicLit)
		needs, named := line.Elts[1].(*ast.SelectorExpr)
		if !ok || !named {
			t.Fatalf("routes.go has a line that isn't {pattern, access.X, handler}")
		}
		text, err := strconv.Unquote(pattern.Value)
		method, path, found := strings.Cut(text, " ")
		if err != nil || !found {
			t.Fatalf("route %s has no method", pattern.Value)
		}
		all = append(all, Route{method, strings.TrimSuffix(path, "{$}"), needs.Sel.Name})
		return true
	})
	if len(all) < 30 {
		t.Fatalf("found only %d routes in routes.go, want at least 30", len(all))
	}
	return all
}

// At returns the route's path with its wildcard replaced by id.
func (r Route) At(id string) string { return strings.ReplaceAll(r.Path, "{id}", id) }
