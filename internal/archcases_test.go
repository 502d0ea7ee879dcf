package internal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChecksFindFaults(t *testing.T) {
	const importPrefix = `import "` + module
	tests := []struct {
		name, path, text string
		want             []string
	}{
		{"arrow down", "internal/web/a.go", importPrefix + `internal/login"`, nil},
		{"arrow over floors", "cmd/sallyport/main.go", importPrefix + `internal/db"`, nil},
		{"arrow up", "internal/session/a.go", importPrefix + `internal/login"`,
			[]string{"internal/session/a.go:2: internal/session may not import internal/login: arrows point down"}},
		{"door to door", "internal/web/a.go", importPrefix + `internal/gateway"`,
			[]string{"internal/web/a.go:2: internal/web may not import internal/gateway: arrows point down"}},
		{"authenticator to its parent", "internal/authenticator/totp/a.go", importPrefix + `internal/authenticator"`, nil},
		{"authenticator to its child", "internal/authenticator/a.go", importPrefix + `internal/authenticator/totp"`,
			[]string{"internal/authenticator/a.go:2: internal/authenticator may not import internal/authenticator/totp: arrows point down"}},
		{"authenticator to its sibling", "internal/authenticator/totp/a.go", importPrefix + `internal/authenticator/password"`,
			[]string{"internal/authenticator/totp/a.go:2: internal/authenticator/totp may not import internal/authenticator/password: arrows point down"}},
		{"config in server", "internal/server/a.go", importPrefix + `internal/config"`, nil},
		{"config in cli", "internal/cli/a.go", importPrefix + `internal/config"`, nil},
		{"config in a door", "internal/web/a.go", importPrefix + `internal/config"`,
			[]string{"internal/web/a.go:2: only cli and server read config; take plain values"}},
		{"config in main", "cmd/sallyport/main.go", importPrefix + `internal/config"`,
			[]string{"cmd/sallyport/main.go:2: only cli and server read config; take plain values"}},
		{"config imports", "internal/config/a.go", importPrefix + `internal/secret"`,
			[]string{"internal/config/a.go:2: internal/config may not import internal/secret: arrows point down"}},
		{"testkit imports", "internal/testkit/withpostgres/main.go", importPrefix + `internal/cli"`, nil},
		{"testkit in the product", "internal/cli/a.go", importPrefix + `internal/testkit/browser"`,
			[]string{"internal/cli/a.go:2: internal/testkit/browser is for tests"}},
		{"new package", "internal/utils/a.go", "",
			[]string{"internal/utils/a.go:1: package internal/utils is unknown; add it to the floors"}},
		{"new command", "cmd/other/main.go", "",
			[]string{"cmd/other/main.go:1: package cmd/other is unknown; add it to the floors"}},
		{"import of a new package", "internal/web/a.go", importPrefix + `internal/access/rules"`,
			[]string{"internal/web/a.go:2: package internal/access/rules is unknown; add it to the floors"}},
		{"guessable numbers", "internal/secret/a.go", `import ("math/rand"; r "math/rand/v2")`,
			[]string{"internal/secret/a.go:2: math/rand can be guessed; use crypto/rand", "internal/secret/a.go:2: math/rand/v2 can be guessed; use crypto/rand"}},
		{"dot import", "internal/web/a.go", `import . "time"`,
			[]string{"internal/web/a.go:2: dot import of time hides where a name comes from"}},

		{"clock", "internal/session/a.go", `import "time"; var a = time.Now(); var b = time.Since(c)`,
			[]string{"internal/session/a.go:2: time.Now: take now as a parameter", "internal/session/a.go:2: time.Since: take now as a parameter"}},
		{"clock handed on", "internal/web/a.go", `import t "time"; var clock = t.Now`,
			[]string{"internal/web/a.go:2: time.Now: take now as a parameter"}},
		{"clock in server", "internal/server/a.go", `import "time"; var a = time.Now()`, nil},
		{"another Now", "internal/web/a.go", `import "time"; var a = clock.Now; var b = time.Hour`, nil},

		{"own table", "internal/account/a.go", "var q = `\n\tSELECT id FROM accounts JOIN members USING (id)`", nil},
		{"other's table", "internal/web/a.go", `var q = "DELETE FROM sessions"`,
			[]string{"internal/web/a.go:2: table sessions belongs to internal/session; call that"}},
		{"other's table in parts", "internal/session/a.go", `var q = "SELECT " + columns + " FROM sessions, " + ("accounts")`,
			[]string{"internal/session/a.go:2: table accounts belongs to internal/account; call that"}},
		{"text within a call", "internal/web/a.go", `var q = f(1, "UPDATE totp SET a = 1")`,
			[]string{"internal/web/a.go:2: table totp belongs to internal/authenticator/totp; call that"}},
		{"new table", "internal/web/a.go", `var q = "INSERT INTO notes (a) VALUES (1)"`,
			[]string{"internal/web/a.go:2: table notes has no owner; add it to the owners"}},
		{"engine's table", "internal/web/a.go", `var q = "SELECT 1 FROM pg_stat_replication"`,
			[]string{"internal/web/a.go:2: table pg_stat_replication belongs to internal/db; call that"}},
		{"no statement", "internal/web/a.go", `var q = "Mail FROM accounts"`, nil},

		{"change without tx.Changed", "internal/session/a.go", "func End() { exec(`\n\tDELETE FROM visits`) }",
			[]string{"internal/session/a.go:2: End changes visits, which are cached: call tx.Changed"}},
		{"change with tx.Changed", "internal/session/a.go", "func End() { tx.Changed(id); exec(`DELETE FROM visits`) }", nil},
		{"change with changeOne", "internal/account/a.go", "func End() { changeOne(`DELETE FROM groups`) }", nil},
		{"change that may be silent", "internal/session/a.go", "func Expire() { exec(`DELETE FROM sessions`) }", nil},
		{"read of cached rows", "internal/session/a.go", "func Read() { exec(`SELECT id FROM visits`) }", nil},

		{"session in finish", sessionOpener, importPrefix + `internal/session"; var s = session.Create()`, nil},
		{"session elsewhere in login", "internal/login/submit.go", importPrefix + `internal/session"; var s = session.Create()`,
			[]string{"internal/login/submit.go:2: only internal/login/finish.go opens sessions"}},
		{"session by another name", "internal/web/a.go", importPrefix[:7] + `s "` + module + `internal/session"; var open = s.Create`,
			[]string{"internal/web/a.go:2: only internal/login/finish.go opens sessions"}},
		{"session by a method", "internal/server/a.go", `var s = a.sessions.Create()`,
			[]string{"internal/server/a.go:2: only internal/login/finish.go opens sessions"}},
		{"session by its own package", "internal/session/a.go", `func Renew() { Create() }; func Create() {}`,
			[]string{"internal/session/a.go:2: only internal/login/finish.go opens sessions"}},
		{"event in journal", "internal/journal/a.go", importPrefix + `internal/audit"; var a = audit.Append()`, nil},
		{"event elsewhere", "internal/login/a.go", importPrefix[:7] + `a "` + module + `internal/audit"; var record = a.Append`,
			[]string{"internal/login/a.go:2: only internal/journal appends audit events; call Record of a Journal"}},
		{"event by its own package", "internal/audit/a.go", `func HandOver() { Append() }; func Append() {}`,
			[]string{"internal/audit/a.go:2: only internal/journal appends audit events; call Record of a Journal"}},
		{"change in a door", "internal/web/a.go", importPrefix + `internal/login"; var a = login.EndOthers; var b = s.Login.HashNew()`,
			[]string{"internal/web/a.go:2: EndOthers is for packages that change accounts; call manage", "internal/web/a.go:2: HashNew is for packages that change accounts; call manage"}},
		{"a transaction in a door", "internal/web/a.go", `var a = s.Login.DB.Write(ctx, func(tx *db.Tx) error { return nil })`,
			[]string{"internal/web/a.go:2: a transaction that changes rows; call manage", "internal/web/a.go:2: a transaction that changes rows; call manage"}},
		{"a transaction of a job", "internal/server/jobs.go", `var a = p.DB.Write(ctx, f)`, nil},
		{"change in manage", "internal/manage/a.go", `var a = m.login.HashNew()`, nil},
		{"another Create", "internal/cli/a.go", importPrefix + `internal/account"; var a = account.Create()`, nil},

		{"rename", "internal/db/a.go", `import "os"; var a = os.Rename`,
			[]string{"internal/db/a.go:2: Rename: call internal/durable"}},
		{"lock", "internal/server/a.go", `import "syscall"; var a = syscall.Flock(1, 2)`,
			[]string{"internal/server/a.go:2: Flock: call internal/durable"}},
		{"rename in durable", "internal/durable/a.go", `import "os"; var a = os.Rename`, nil},
		{"another call of os", "internal/db/a.go", `import "os"; var a = os.Stat`, nil},

		{"init", "internal/web/a.go", `func init() {}`,
			[]string{"internal/web/a.go:2: func init runs unseen; let the caller call it"}},
		{"method init", "internal/web/a.go", `func (s *server) init() {}`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := parse(test.path, "package p\n"+test.text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, check := range checks {
				got = append(got, check(s)...)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}
