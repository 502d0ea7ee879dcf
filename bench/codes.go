package main

import "fmt"

// measureCodes measures second-factor verifications with the whole ledger on
// both engines, right and wrong codes apart.
func measureCodes(b *bench) {
	b.onAllCores(b.codesOnSQLite)
	b.within(b.codesOnPostgres)
	b.onAllCores(b.commits)
	b.onAllCores(b.latencyOfCodes)
}

// verdicts are what codes are given for.
var verdicts = []string{"right", "wrong"}

func (p *people) giving(verdict string) func(i int) error {
	if verdict == "right" {
		return p.right
	}
	return p.wrong
}

func (b *bench) codesOnSQLite() {
	p, bare := b.newPeople("sqlite"), b.bareCommits()
	b.overClients("sqlite", "SQLite", "bare commits", p, func(string, int) side { return bare })
}

// overClients measures codes of 1 to 64 clients beside what bare returns for
// them, and adds a table and a plot.
func (b *bench) overClients(file, engine, bareName string, p *people, bare func(verdict string, clients int) side) {
	table := detail{header: []string{"clients", "code", "verifications/s", "p50 ms", "p99 ms", "bare/s"}}
	rates := plot{file: file, title: "Second-factor verifications on " + engine, x: "clients", y: "per second", logX: true}
	for _, verdict := range verdicts {
		ours, least := curve{name: verdict + " codes"}, curve{name: bareName + ", beside " + verdict}
		for _, n := range b.clients {
			got := alternate(b.rounds, p.codes(n, p.giving(verdict)), bare(verdict, n))
			r := row{what: fmt.Sprintf("%s, %s codes of %s", engine, verdict, some(n, "client")), unit: "/s",
				got: middle(got[0], rateOf), bare: middle(got[1], rateOf), ratio: paired(got[0], got[1], rateOf)}
			if n == b.clients[len(b.clients)-1] {
				r.target = atLeast(0.5)
			}
			b.add(r)
			ours.add(float64(n), r.got)
			least.add(float64(n), r.bare)
			table.rows = append(table.rows, []string{fmt.Sprint(n), verdict, number(r.got),
				number(middle(got[0], p50Of) / 1000), number(middle(got[0], p99Of) / 1000), number(r.bare)})
		}
		rates.lines = append(rates.lines, ours, least)
	}
	b.detail(table)
	b.plot(rates)
}
