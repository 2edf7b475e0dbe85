package pg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bouncer is a running PgBouncer, which serves every database of its server.
type Bouncer struct {
	server *Server
	url    url.URL
	dir    string // holds configuration, log and socket
	keeper *keeper
}

// StartBouncer starts a PgBouncer before the server, in transaction mode, with
// further lines for the section [pgbouncer] of its configuration. Like the
// server it does not outlive the process; see [Start].
//
// In transaction mode a statement that was prepared may be unknown to the
// connection that the next transaction gets: pgx needs the parameter
// default_query_exec_mode=exec, and lib/pq binary_parameters=yes.
func StartBouncer(ctx context.Context, s *Server, config ...string) (*Bouncer, error) {
	program, err := bouncerProgram()
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	dir, err := tempDir()
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	b := &Bouncer{server: s, url: socketURL(dir, bouncerPort), dir: dir}
	b.keeper, err = keep(dir, "/bin/sh", "-c", `kill -KILL "$(cat pid)"`)
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	if err := b.start(ctx, program, config); err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", errors.Join(err, b.Stop()))
	}
	return b, nil
}

// DSN is [Server.DSN] through the PgBouncer.
func (b *Bouncer) DSN(database string, parameters ...string) string {
	return dsn(b.url, database, parameters)
}

// Stop stops the PgBouncer at once and removes its files.
func (b *Bouncer) Stop() error { return b.keeper.stop() }

func (b *Bouncer) start(ctx context.Context, program string, config []string) error {
	server, err := pgx.ParseConfig(b.server.DSN(superuser))
	if err != nil {
		return errors.New("the server's DSN is not valid")
	}
	ini := filepath.Join(b.dir, "pgbouncer.ini")
	if err := os.WriteFile(ini, []byte(b.ini(server, config)), 0o644); err != nil {
		return err
	}
	if err := run(command(ctx, b.dir, program, "--daemon", ini)); err != nil {
		return err
	}
	return b.wait(ctx)
}

func (b *Bouncer) ini(server *pgx.ConnConfig, config []string) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	target := fmt.Sprintf("host=%s port=%d user=%s", quote(server.Host), server.Port, quote(server.User))
	if server.Password != "" { // an empty one is a syntax error
		target += " password=" + quote(server.Password)
	}
	lines := append([]string{
		"[databases]",
		"* = " + target,
		"[pgbouncer]",
		"pool_mode = transaction",
		"auth_type = any",
		"listen_addr =",
		fmt.Sprintf("listen_port = %d", bouncerPort),
		"unix_socket_dir = " + b.dir,
		"logfile = " + filepath.Join(b.dir, "log"),
		"pidfile = " + filepath.Join(b.dir, "pid"),
		"max_client_conn = 1000",
		"default_pool_size = 20",
		"ignore_startup_parameters = extra_float_digits",
	}, config...)
	return strings.Join(append(lines, ""), "\n")
}

// wait returns when the PgBouncer, which daemonizes before it listens, takes
// connections.
func (b *Bouncer) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		c, err := pgx.Connect(ctx, b.DSN(superuser))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
			return fmt.Errorf("it does not accept connections: %w\n%s", err, log)
		}
	}
}

func bouncerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: pgbouncer is neither in PATH nor in /usr/sbin", ErrMissing)
}
