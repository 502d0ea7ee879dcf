package main

import "fmt"

// measureCodes measures second-factor verifications, including their writes to the ledger, on
// SQLite and on PostgreSQL, separately for right and wrong codes.
func measureCodes(b *bench) {
	b.onAllCores(b.codesOnSQLite)
	b.within(b.codesOnPostgres)
	b.onAllCores(b.syncs)
	b.onAllCores(b.commits)
	b.onAllCores(b.latencyOfCodes)
}

// codeKinds are the kinds of codes that are measured.
var codeKinds = []string{"right", "wrong"}

// submitter returns the function that submits a code of the given kind for user i.
func (p *people) submitter(kind string) func(i int) error {
	if kind == "right" {
		return p.right
	}
	return p.wrong
}

func (b *bench) codesOnSQLite() {
	p, bare := b.newPeople("sqlite"), b.bareCommits()
	b.overClients("sqlite", "SQLite", "bare commits", p, func(string, int) side { return bare })
}

// overClients measures the codes of 1 to 64 concurrent clients, compares them with the side that
// bare returns, and adds rows, a table and a plot.
func (b *bench) overClients(file, engine, bareName string, p *people, bare func(kind string, clients int) side) {
	table := detail{title: engine, header: []string{"clients", "code", "verifications/s", "p50 ms", "p99 ms", "bare/s"}}
	rates := plot{file: file, title: "Second-factor verifications on " + engine, x: "clients", y: "per second", logX: true}
	for _, kind := range codeKinds {
		ours, least := curve{name: kind + " codes"}, curve{name: bareName + ", beside " + kind}
		for _, n := range b.clients {
			got := alternate(b.codeRounds, p.codes(n, p.submitter(kind)), bare(kind, n))
			r := row{what: fmt.Sprintf("%s, %s codes of %s", engine, kind, counted(n, "client")), unit: "/s",
				got: medianOf(got[0], rateOf), bare: medianOf(got[1], rateOf), ratio: medianRatio(got[0], got[1], rateOf)}
			if n == b.clients[len(b.clients)-1] {
				r.target = atLeast(0.5)
			}
			b.add(r)
			ours.add(float64(n), r.got)
			least.add(float64(n), r.bare)
			table.rows = append(table.rows, []any{n, kind, r.got, medianOf(got[0], p50Of) / 1000, medianOf(got[0], p99Of) / 1000, r.bare})
		}
		rates.lines = append(rates.lines, ours, least)
	}
	b.detail(table)
	b.plot(rates)
}
