package upgrade

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// While a node runs the previous release, commands refuse to store a role that the older program
// can't read, so that both releases can share the database. Once no node runs the previous release,
// such a role can be stored, and from then on the previous release refuses the database.
func TestRolesWaitForTheLastOldNode(t *testing.T) {
	t.Parallel()
	old := buildPrevious(t)
	this := release{sallyport.BuildProgram(t), countMigrations(t, testkit.Path("."))}
	env := append(settings(t), "SALLYPORT_DATABASE="+testkit.DatabaseURL(t, "postgres"))
	var nodes []*sallyport.Node
	for _, name := range []string{"old1", "old2", "new"} {
		one := newNode(t, name, old)
		one.Env = env
		if len(nodes) > 0 {
			testkit.CopyFile(t, filepath.Join(nodes[0].Dir, "keyring"), filepath.Join(one.Dir, "keyring"))
		}
		start(one)
		nodes = append(nodes, one)
	}
	first, second, third := nodes[0], nodes[1], nodes[2]
	run := func(by *sallyport.Node, refused string, args ...string) string {
		t.Helper()
		out, err := by.Run("a password of an operator\n", args...)
		if refused == "" && err != nil || refused != "" && (err == nil || !strings.Contains(out, refused)) {
			t.Errorf("%s of %s: %v, want %q\n%s", strings.Join(args, " "), by.Name, err, refused, out)
		}
		return out
	}
	run(first, "", "account", "add", "ada", "--operator", "--password-stdin")
	run(first, "", "account", "add", "bob", "--password-stdin")

	replace(third, this)
	const notYet = "some nodes run an earlier version"
	for _, role := range []string{"helpdesk", "auditor"} {
		run(third, notYet, "account", "set-role", "bob", role)
	}
	// An operator of the previous release is an administrator of this one, so this role can be set at
	// once.
	if out := run(third, "", "account", "show", "ada"); !strings.Contains(out, "administrator") {
		t.Errorf("\"account show\" for an operator of the previous release: want the role administrator:\n%s", out)
	}
	run(third, "", "account", "set-role", "bob", "administrator")
	run(first, "", "account", "list")
	replace(second, this)
	run(third, notYet, "account", "set-role", "bob", "helpdesk")
	replace(first, this)
	run(third, "", "account", "set-role", "bob", "helpdesk")

	first.Path = old.path
	run(first, "made by a newer sallyport", "account", "list")
	run(second, "", "account", "show", "bob")
	verifyAudit(second, this)
}
