package main

import "fmt"

// asked is a program that is asked the same again and again.
type asked struct {
	name string
	*process
	at   string
	next func(i int) []byte
	want int
}

// always is a next of [asked].
func always(request []byte) func(int) []byte { return func(int) []byte { return request } }

// beside returns a program and the bare server that answers as it does, each
// asked what is asked of the other.
func (b *bench) beside(name string, p *process, at string, request []byte) (ours, bare asked) {
	answer := b.answerOf(at, request)
	ours = asked{name, p, at, always(request), answer.Status}
	bare = ours
	bare.name = name + ", bare"
	bare.process, bare.at = b.startBare(b.cores.server, answer)
	return ours, bare
}

// mustAnswer ends the run where a program answers with another status than
// expected, so that refusals aren't measured as admissions.
func (b *bench) mustAnswer(a asked, status int) {
	if a.want != status {
		b.Fatalf("%s answers with status %d, not %d", a.name, a.want, status)
	}
}

// rush has so many connections ask each in turn, and returns its samples.
func (b *bench) rush(connections int, all ...asked) [][]sample {
	sides := make([]side, len(all))
	for i, a := range all {
		c, err := newCrowd(a.at, connections, a.want, a.next)
		b.must(err)
		defer c.close()
		sides[i] = func() sample {
			before := a.spent()
			s, err := c.rush(b.round)
			b.must(err)
			s.cpu = microseconds(a.spent()-before) / float64(s.n)
			return s
		}
	}
	return alternate(b.rounds, sides...)
}

// overConnections measures pairs of a program and its bare side at 1 to 64
// connections; target is for the last of the first pair. It adds a table, and
// plots of processor time and of latency, whose files' names begin with prefix.
func (b *bench) overConnections(what, prefix string, target *target, all ...asked) {
	table := detail{header: []string{"connections", "who", "CPU µs/request", "requests/s", "p50 µs", "p99 µs"}}
	cpu := plot{file: prefix + "cpu", title: what + ": processor time", x: "connections", y: "CPU, µs per request", logX: true}
	latency := plot{file: prefix + "latency", title: what + ": latency as fast as answers come", x: "connections", y: "µs", logX: true, logY: true}
	for _, a := range all {
		cpu.lines = append(cpu.lines, curve{name: a.name})
		latency.lines = append(latency.lines, curve{name: a.name + ", p50"}, curve{name: a.name + ", p99"})
	}
	for _, n := range b.connections {
		got := b.rush(n, all...)
		for i, a := range all {
			values := []float64{middle(got[i], cpuOf), middle(got[i], rateOf), middle(got[i], p50Of), middle(got[i], p99Of)}
			row := []string{fmt.Sprint(n), a.name}
			for _, value := range values {
				row = append(row, number(value))
			}
			table.rows = append(table.rows, row)
			cpu.lines[i].add(float64(n), values[0])
			latency.lines[2*i].add(float64(n), values[2])
			latency.lines[2*i+1].add(float64(n), values[3])
		}
		for i := 0; i < len(all); i += 2 {
			ours, bare := got[i], got[i+1]
			r := row{what: fmt.Sprintf("%s, %s: %s", what, some(n, "connection"), all[i].name), unit: "µs CPU",
				got: middle(ours, cpuOf), bare: middle(bare, cpuOf), ratio: paired(ours, bare, cpuOf)}
			if i == 0 && n == b.most() {
				r.target = target
			}
			b.add(r)
		}
	}
	b.detail(table)
	b.plot(cpu)
	b.plot(latency)
}
