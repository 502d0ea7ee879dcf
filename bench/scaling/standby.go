package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
)

// site is a PostgreSQL server with a synchronous standby, and nodes that use the server.
type site struct {
	nodes []*server.Portal
	stops []func()
}

// startSite starts a PostgreSQL server that syncs each commit, a standby whose answers are
// delayed by the round-trip time away, and nodes with cheap password hashes in this process. The
// standby is pg_receivewal: it syncs and confirms the log, but doesn't apply it. A real standby
// does that on a machine of its own. fill is called before the standby begins.
func startSite(ctx context.Context, dir string, away time.Duration, nodes int, fill func(*server.Portal) error) (s *site, err error) {
	s = &site{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	url, stop, err := testkit.StartPostgres(dir, "fsync=on", "max_wal_size=4GB", "shared_buffers=512MB")
	if err != nil {
		return s, err
	}
	s.stops = append(s.stops, stop)
	for range nodes {
		if err := s.addNode(ctx, dir, url); err != nil {
			return s, err
		}
	}
	if err := fill(s.nodes[0]); err != nil {
		return s, err
	}
	if away > 0 {
		err = s.addStandby(ctx, dir, url, away)
	}
	return s, err
}

// stop stops everything in reverse order.
func (s *site) stop() {
	for len(s.stops) > 0 {
		last := len(s.stops) - 1
		s.stops[last]()
		s.stops = s.stops[:last]
	}
}

func (s *site) addNode(ctx context.Context, dir, url string) error {
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + filepath.Join(dir, "node"), "SALLYPORT_DATABASE=" + url})
	if err != nil {
		return err
	}
	node, err := server.Open(ctx, cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	node.Login.Passwords = testkit.Quick
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- node.Serve(serving, listener) }()
	s.nodes = append(s.nodes, node)
	s.stops = append(s.stops, func() {
		end()
		<-ended
		node.Close()
	})
	return nil
}

func (s *site) addStandby(ctx context.Context, dir, url string, away time.Duration) error {
	at, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	port, err := s.delay(net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))), away/2)
	if err != nil {
		return err
	}
	programs, err := testkit.PostgresPrograms()
	if err != nil {
		return err
	}
	log := filepath.Join(dir, "log")
	if err := os.Mkdir(log, 0o700); err != nil {
		return err
	}
	standby := exec.Command(filepath.Join(programs, "pg_receivewal"), "-D", log, "--synchronous", "--no-loop",
		"-d", fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=replication application_name=standby", port, at.User))
	standby.Stderr = os.Stderr
	if err := standby.Start(); err != nil {
		return err
	}
	s.stops = append(s.stops, func() {
		standby.Process.Kill()
		standby.Wait()
	})
	conn, err := pgx.ConnectConfig(ctx, at)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range []string{`ALTER SYSTEM SET synchronous_standby_names = 'standby'`, `SELECT pg_reload_conf()`} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	// The standby ends before the nodes stop, so make the nodes not wait for it.
	s.stops = append(s.stops, func() {
		conn, err := pgx.ConnectConfig(ctx, at)
		if err != nil {
			return
		}
		defer conn.Close(ctx)
		conn.Exec(ctx, `ALTER SYSTEM RESET synchronous_standby_names`)
		conn.Exec(ctx, `SELECT pg_reload_conf()`)
	})
	for range 100 {
		var sure bool
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync')`).Scan(&sure); err != nil || sure {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("the standby didn't begin within ten seconds")
}

// delay listens on a port and forwards each connection to the given address. It delays every byte
// by the given time, in each direction.
func (s *site) delay(to string, by time.Duration) (port string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.stops = append(s.stops, func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go forwardLate(client, server, by)
			go forwardLate(server, client, by)
		}
	}()
	_, port, err = net.SplitHostPort(listener.Addr().String())
	return port, err
}

// forwardLate forwards with a delay until one of the connections ends, and closes both.
func forwardLate(to io.WriteCloser, from io.ReadCloser, by time.Duration) {
	type part struct {
		bytes []byte
		due   time.Time
	}
	parts := make(chan part, 4096)
	go func() {
		defer close(parts)
		for {
			buffer := make([]byte, 64<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				parts <- part{buffer[:n], time.Now().Add(by)}
			}
			if err != nil {
				return
			}
		}
	}()
	for one := range parts {
		time.Sleep(time.Until(one.due))
		if _, err := to.Write(one.bytes); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	for range parts { // so that the reader ends
	}
}
