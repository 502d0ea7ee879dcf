package main

import "fmt"

// endpoint is a server to which requests are sent.
type endpoint struct {
	name string
	*process
	at   string             // host and port
	next func(i int) []byte // returns the i-th request
	want int                // status that every answer must have
}

// always makes the function next of an [endpoint]: one that returns request for every i.
func always(request []byte) func(int) []byte { return func(int) []byte { return request } }

// withBare returns the endpoint of a program and the endpoint of a bare server that it starts.
// The bare server gives the answer that the program gives to request.
func (b *bench) withBare(name string, p *process, at string, request []byte) (ours, bare endpoint) {
	answer := b.answerOf(at, request)
	ours = endpoint{name, p, at, always(request), answer.Status}
	bare = ours
	bare.name = name + ", bare"
	bare.process, bare.at = b.startBare(b.cores.server, answer)
	return ours, bare
}

// mustAnswer ends the run if an endpoint doesn't answer with the given status, so that
// refusals aren't measured as admissions.
func (b *bench) mustAnswer(a endpoint, status int) {
	if a.want != status {
		b.Fatalf("%s answers with status %d, want %d", a.name, a.want, status)
	}
}

// settle sends requests to an endpoint whose program has just hashed a password, until the program's
// heap has its usual size again. Otherwise each of the first measured requests through the gateway
// would cost a page fault: a hash needs 19 MiB, so Go lets the heap grow to 90 MB before it collects
// the garbage, and these requests are the first to touch the new memory.
func (b *bench) settle(e endpoint) {
	c, err := newLoadClient(e.at, b.maxConnections(), e.want, e.next)
	b.must(err)
	defer c.close()
	b.must(c.send(b.settling))
}

// saturate sends requests to one endpoint after the other over the given number of connections,
// as fast as answers arrive, and returns the samples of each endpoint.
func (b *bench) saturate(connections int, all ...endpoint) [][]sample {
	sides := make([]side, len(all))
	for i, a := range all {
		c, err := newLoadClient(a.at, connections, a.want, a.next)
		b.must(err)
		defer c.close()
		sides[i] = func() sample {
			before := a.spent()
			kernelBefore, totalBefore := a.kernelTicks()
			s, err := c.saturate(b.round)
			b.must(err)
			s.cpu = microseconds(a.spent()-before) / float64(s.n)
			if kernel, total := a.kernelTicks(); total > totalBefore {
				s.kernel = s.cpu * (kernel - kernelBefore) / (total - totalBefore)
			}
			return s
		}
	}
	return alternate(b.rounds, sides...)
}

// compareCPU compares a program's processor time per request with its bare server's, over the
// largest number of connections, and adds a row.
func (b *bench) compareCPU(what string, target *target, ours, bare endpoint) {
	got := b.saturate(b.maxConnections(), ours, bare)
	b.add(row{what: what + ", " + counted(b.maxConnections(), "connection"), unit: "µs CPU",
		got: medianOf(got[0], cpuOf), bare: medianOf(got[1], cpuOf), ratio: medianRatio(got[0], got[1], cpuOf), target: target})
}

// overConnections measures endpoints with 1 to 64 connections. all holds pairs: the endpoint of a
// program, then that of its bare server. targets maps a number of connections to the target of the
// first pair. The results become rows, a table, and plots of processor time and of latency in files
// whose names begin with prefix.
func (b *bench) overConnections(what, prefix string, targets map[int]*target, all ...endpoint) {
	table := detail{title: what, header: []string{"connections", "who", "CPU µs/request", "of these in the kernel", "requests/s", "p50 µs", "p99 µs"}}
	cpu := plot{file: prefix + "cpu", title: what + ": processor time", x: "connections", y: "CPU, µs per request", logX: true}
	latency := plot{file: prefix + "latency", title: what + ": latency as fast as answers come", x: "connections", y: "µs", logX: true, logY: true}
	for _, a := range all {
		cpu.lines = append(cpu.lines, curve{name: a.name})
		latency.lines = append(latency.lines, curve{name: a.name + ", p50"}, curve{name: a.name + ", p99"})
	}
	for _, n := range b.connections {
		got := b.saturate(n, all...)
		for i, a := range all {
			cpuTime, p50, p99 := medianOf(got[i], cpuOf), medianOf(got[i], p50Of), medianOf(got[i], p99Of)
			table.rows = append(table.rows, []any{n, a.name, cpuTime, medianOf(got[i], kernelOf), medianOf(got[i], rateOf), p50, p99})
			cpu.lines[i].add(float64(n), cpuTime)
			latency.lines[2*i].add(float64(n), p50)
			latency.lines[2*i+1].add(float64(n), p99)
		}
		for i := 0; i < len(all); i += 2 {
			ours, bare := got[i], got[i+1]
			r := row{what: fmt.Sprintf("%s, %s: %s", what, counted(n, "connection"), all[i].name), unit: "µs CPU",
				got: medianOf(ours, cpuOf), bare: medianOf(bare, cpuOf), ratio: medianRatio(ours, bare, cpuOf)}
			if i == 0 {
				r.target = targets[n]
			}
			b.add(r)
		}
	}
	b.detail(table)
	b.plot(cpu)
	b.plot(latency)
}
