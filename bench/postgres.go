package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// postgres is a temporary PostgreSQL server on the measured server's core. It syncs to
// the disk, as a production server does.
type postgres struct {
	*bench
	super *sql.DB
	log   string // file of logged statements
	round int64  // number of pgbench's rounds so far
}

// startPostgres starts the server with further settings, and stores its URL in the environment
// variable that testkit reads.
func (b *bench) startPostgres(settings ...string) *postgres {
	dir := b.TempDir()
	g := &postgres{bench: b, log: filepath.Join(dir, "data", "log", "statements.json")}
	var (
		url  string
		stop func()
	)
	b.must(b.cores.start(b.cores.server, func() (err error) {
		url, stop, err = testkit.StartPostgres(dir, append([]string{"fsync=on",
			"logging_collector=on", "log_destination=jsonlog", "log_directory=log", "log_filename=statements"}, settings...)...)
		return err
	}))
	b.Cleanup(stop)
	b.must(os.Setenv(testkit.PostgresVariable, url))
	super, err := sql.Open("pgx", url)
	b.must(err)
	b.Cleanup(func() { super.Close() })
	super.SetMaxIdleConns(-1) // only new connections get a role's settings
	g.super = super
	g.run(super, `ALTER ROLE postgres SET log_min_messages = 'log'`) // or no statement is logged
	return g
}

// run runs statements without parameters.
func (b *bench) run(on *sql.DB, statements ...string) {
	for _, one := range statements {
		if _, err := on.ExecContext(b.ctx, one); err != nil {
			b.Fatalf("%s: %v", one, err)
		}
	}
}

func (b *bench) codesOnPostgres() {
	g := b.startPostgres()
	p := b.newPeople("postgres")
	ours, err := sql.Open("pgx", p.portal.Config.DatabaseURL())
	b.must(err)
	b.Cleanup(func() { ours.Close() })
	p.tidy = func() { g.run(ours, tidy) }
	bare := g.fillBare()
	p.prepare() // makes the browsers known
	p.prepare()
	scripts := map[string]string{}
	for i, kind := range codeKinds {
		scripts[kind] = g.script(p, i, p.submitter(kind))
	}
	b.overClients("postgres", "PostgreSQL", "pgbench", p, func(kind string, clients int) side {
		return func() sample { return g.pgbench(bare, scripts[kind], clients) }
	})
}

// tidy runs before each round of either side. It does the work of autovacuum, so that
// neither side pays for the other's rounds.
const tidy = `VACUUM (ANALYZE)`

// loggedStatement is a statement with its parameters, from PostgreSQL's log.
type loggedStatement struct {
	text   string
	values []string // SQL literals, or NULL
}

var (
	executed  = regexp.MustCompile(`(?s)^(?:execute [^:]*|statement): (.*)$`)
	parameter = regexp.MustCompile(`\$\d+ = (NULL|'(?:[^']|'')*')`)
)

// statements returns the statements that the server receives while code runs.
func (g *postgres) statements(code func()) []loggedStatement {
	begin, end := `SELECT '`+secret.NewID()+`'`, `SELECT '`+secret.NewID()+`'`
	g.run(g.super, `ALTER SYSTEM SET log_statement = 'all'`, `SELECT pg_reload_conf()`, `SELECT pg_sleep(1)`, begin)
	code()
	g.run(g.super, end, `ALTER SYSTEM RESET log_statement`, `SELECT pg_reload_conf()`)
	var all []loggedStatement
	for deadline := time.Now().Add(answerTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(g.log)
		g.must(err)
		_, after, _ := bytes.Cut(text, []byte(begin))
		if between, _, found := bytes.Cut(after, []byte(end)); found {
			for _, line := range bytes.Split(between, []byte("\n")) {
				var entry struct{ Message, Detail string }
				if json.Unmarshal(line, &entry) != nil {
					continue // the end of the first line or the start of the last
				}
				found := executed.FindStringSubmatch(entry.Message)
				// Skip the notifications of the listener and the pings of the pool.
				if found == nil || strings.Contains(found[1], "pg_notify") || strings.HasPrefix(found[1], "--") {
					continue
				}
				one := loggedStatement{text: strings.Join(strings.Fields(found[1]), " ")}
				for _, value := range parameter.FindAllStringSubmatch(entry.Detail, -1) {
					one.values = append(one.values, value[1])
				}
				all = append(all, one)
			}
			return all
		}
	}
	g.Fatal("PostgreSQL logged no statements")
	return nil
}

// In pgbench's database, an id is a number and a hash is the text of a number, since all variables
// of pgbench are numbers. Each user is used once in a round.
const (
	firstNumber = 100_000_000_000_000_000 // nearly as long as an id
	perRound    = 1_000_000               // numbers that are reserved for each round

	proofs = "password::1812722940000,totp:AXi4SzSbZ5eOnu0XKyPc:1812722940000" // the proofs of a session
)

var (
	idValue   = regexp.MustCompile(`^'[A-Za-z0-9_-]{20}'$`)
	hashValue = regexp.MustCompile(`^'\\x[0-9a-f]{64}'$`)
)

// script submits a code of user i and returns a pgbench script that runs the same
// statements in the same transactions, for a user of the bare database.
func (g *postgres) script(p *people, i int, submit func(int) error) string {
	account, phone := "", p.phones[i].ID
	g.must(g.oneOf(p, `SELECT account_id FROM authenticators WHERE id = $1`, &account, phone))
	var device, attempt string
	g.must(g.oneOf(p, `SELECT id FROM devices WHERE token_hash = $1`, &device, secret.Hash(p.from[i].Device)))
	g.must(g.oneOf(p, `SELECT id FROM attempts WHERE token_hash = $1`, &attempt, secret.Hash(p.attempts[i])))
	hash := func(token string) string { return fmt.Sprintf(`'\x%x'`, secret.Hash(token)) }
	oldDevice := p.from[i].Device
	variables := map[string]string{
		"'" + account + "'": ":person", "'" + phone + "'": ":person", "'" + device + "'": ":person", "'" + attempt + "'": ":person",
		hash(p.attempts[i]): ":person", hash(oldDevice): ":held",
		fmt.Sprintf("'%d'", totp.Step(p.portal.Clock.Now(), totp.Period)): ":round",
	}
	all := g.statements(func() { g.must(submit(i)) })
	if p.from[i].Device != oldDevice {
		variables[hash(p.from[i].Device)] = ":fresh"
	}
	return pgbenchScript(all, variables)
}

// pgbenchScript returns the statements as a script. variables maps literals to the
// pgbench variables that replace them.
func pgbenchScript(all []loggedStatement, variables map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `\set turn :turn + 1
\set person %d + :client_id * :share + :turn
\set held :person + (:round - 1) * %d
\set fresh :person + :round * %d
\set made random(%d, %d)
`, firstNumber, perRound, perRound, 2*firstNumber, 9*firstNumber)
	version := 0
	for _, one := range all {
		text := one.text
		reads := strings.HasPrefix(text, "SELECT times, version FROM ledger")
		for n := len(one.values); n > 0; n-- { // replace $10 before $1
			value := one.values[n-1]
			switch known, there := variables[value]; {
			case there:
				value = known
			case strings.Contains(value, ":"): // pgbench would take it for a variable
				value = ":proofs"
			case idValue.MatchString(value), hashValue.MatchString(value):
				value = ":made"
			case strings.HasPrefix(text, "UPDATE ledger") && strings.HasSuffix(one.text, fmt.Sprintf("version = $%d", n)):
				value = fmt.Sprintf(":version + %d", version)
				version++
			}
			text = strings.ReplaceAll(text, "$"+strconv.Itoa(n), value)
		}
		b.WriteString(text)
		// The first row of the ledger that is read is the one that is updated later.
		if reads && !strings.Contains(b.String(), `\gset`) {
			b.WriteString(` \gset` + "\n")
		} else {
			b.WriteString(";\n")
		}
	}
	return b.String()
}

func (g *postgres) oneOf(p *people, query string, to *string, value any) error {
	return p.portal.DB.Reader().QueryRowContext(g.ctx, query, value).Scan(to)
}

// fillBare creates a database with the users of pgbench's scripts, in rows like those that
// the product writes, and returns its URL.
func (g *postgres) fillBare() string {
	url := testkit.DatabaseURL(g.stage, "postgres")
	testkit.Open(g.stage, url).Close()
	bare, err := sql.Open("pgx", url)
	g.must(err)
	defer bare.Close()
	people := fmt.Sprintf(`FROM (SELECT %d + n AS id, 'ada' || n AS name FROM generate_series(1, %d) AS n) AS people`, firstNumber, g.turns*slices.Max(g.clients))
	g.run(bare,
		`INSERT INTO accounts (id, name, display_name, locale, role, security_stamp, enroll_locked, two_factor_at, created_at)
			SELECT id, name, '', '', 'member', id, FALSE, 0, 0 `+people,
		`INSERT INTO passwords (account_id, phc, changed_at) SELECT id, decode(repeat('00', 150), 'hex'), 0 `+people,
		`INSERT INTO authenticators (id, account_id, kind, name, created_at, confirmed_at) SELECT id, id, 'totp', 'Phone', 0, 0 `+people,
		`INSERT INTO totp (authenticator_id, secret, algorithm, digits, period, last_step, drift_steps)
			SELECT id, decode(repeat('00', 60), 'hex'), 'SHA1', 6, 30, 0, 0 `+people,
		`INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser)
			SELECT id, convert_to(id::text, 'UTF8'), id, 0, 4000000000000, '11.0.0.1', 'bench' `+people,
		`INSERT INTO ledger (account_id, bucket, subject, times, version, changed_at) SELECT id, 'code-known', id, '', 1, 0 `+people)
	return url
}

var pgbenchRate = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)

// pgbench runs a script once for each user and returns the rate, without the time to
// connect.
func (g *postgres) pgbench(url, script string, clients int) sample {
	bare, err := sql.Open("pgx", url)
	g.must(err)
	defer bare.Close()
	// Bring every user to the code page. The browser of each has the device token that the
	// last round of right codes gave it.
	held := firstNumber + g.round*perRound
	g.run(bare, `DELETE FROM attempts`,
		`INSERT INTO attempts (id, token_hash, account_id, security_stamp, purpose, place, proofs, return_url, created_at, expires_at)
			SELECT id, convert_to(id, 'UTF8'), id, id, 'sign_in', id, '`+proofs+`', '/', 0, 4000000000000 FROM accounts`,
		fmt.Sprintf(`UPDATE devices SET token_hash = convert_to((account_id::bigint + %d)::text, 'UTF8')`, held-firstNumber))
	g.run(bare, tidy)
	g.round++

	programs, err := testkit.PostgresPrograms()
	g.must(err)
	file := filepath.Join(g.TempDir(), "code.sql")
	g.must(os.WriteFile(file, []byte(script), 0o600))
	// Each client first prepares its statements. It runs several transactions, so that this cost
	// matters little, and more of them if there are few clients, since a short round is inexact.
	share := max(g.turns, 4*g.turns/clients)
	command := exec.CommandContext(g.ctx, filepath.Join(programs, "pgbench"), "--no-vacuum", "--protocol=prepared", "--file="+file,
		"--client="+strconv.Itoa(clients), "--transactions="+strconv.Itoa(share),
		"--define=turn=0", "--define=proofs="+proofs, fmt.Sprintf("--define=share=%d", share), fmt.Sprintf("--define=round=%d", g.round), url)
	// The product's connections have cached generic plans. pgbench's are new, so force such plans.
	command.Env = append(os.Environ(), "PGOPTIONS=-c plan_cache_mode=force_generic_plan")
	out, err := command.CombinedOutput()
	rate := pgbenchRate.FindSubmatch(out)
	if err != nil || rate == nil || !bytes.Contains(out, fmt.Appendf(nil, "processed: %d/%d", share*clients, share*clients)) {
		g.Fatalf("pgbench: %v\n%s\n%s", err, out, script)
	}
	perSecond, err := strconv.ParseFloat(string(rate[1]), 64)
	g.must(err)
	return sample{n: share * clients, rate: perSecond}
}
