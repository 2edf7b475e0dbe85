// Package pg runs throwaway PostgreSQL servers, from the binaries that are
// installed, for tests and benchmarks:
//
//	func TestStore(t *testing.T) {
//		db, err := sql.Open("pgx", pg.ForTest(t).Database(t))
//		…
//	}
//
// A server listens on a Unix socket in a temporary directory alone, trusts who
// connects, and is as durable as a production server. It does not outlive its
// process, however that ends; see [Start].
package pg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrMissing is matched by the error of [Start] and [StartBouncer] where the
// programs are not installed.
var ErrMissing = errors.New("not installed")

// Mode says how a server is brought down.
type Mode string

// The modes of pg_ctl.
const (
	Fast      Mode = "fast"      // sessions are ended, everything is written
	Immediate Mode = "immediate" // like a crash: the next start recovers
)

// Options configure a server. The zero value is ready for use.
type Options struct {
	// Config are lines of postgresql.conf, such as "max_connections = 300",
	// which override the defaults of PostgreSQL and of this package.
	Config []string
}

// Server is a running PostgreSQL server. Its methods are safe for concurrent
// use.
type Server struct {
	url    url.URL
	bin    string // directory of the programs; empty if the server is not ours
	dir    string // holds data, log and socket
	keeper *keeper
}

// Start starts a server in a cluster of its own, which takes about a second. The
// newest of the programs in PATH and in Debian's directories is used; as user
// postgres where the process is root's, which PostgreSQL refuses to run as.
//
// The caller should Stop it. If the process ends without doing so, by SIGKILL
// even, a small shell that waits at the other end of a pipe sees that end, stops
// the server and removes its files. That depends on no thread, as a
// parent-death signal does.
func Start(ctx context.Context, o Options) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	dir, err := tempDir()
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	s := &Server{url: socketURL(dir, serverPort), bin: bin, dir: dir}
	s.keeper, err = keep(dir, filepath.Join(bin, "pg_ctl"), "stop", "--silent", "--mode", string(Immediate), "--pgdata", s.data())
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	if err := s.start(ctx, o); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", errors.Join(err, s.Stop()))
	}
	return s, nil
}

// Open returns the server of a URL such as postgres://user:password@host/name,
// which somebody else runs. The user must be allowed to create databases. TLS is
// used only if the URL has a parameter sslmode that says so.
func Open(dsn string) (*Server, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("open PostgreSQL: the DSN is not a URL") // which may hold a password
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("open PostgreSQL: the DSN is not a URL that begins with postgres://")
	}
	query := u.Query()
	if !query.Has("sslmode") {
		query.Set("sslmode", "disable") // on which the defaults of the drivers differ
	}
	u.RawQuery = query.Encode()
	return &Server{url: *u}, nil
}

// DSN returns the URL of a database, for pgx and lib/pq alike; "postgres" always
// exists. Parameters are "name=value"; more may be appended after an "&".
func (s *Server) DSN(database string, parameters ...string) string {
	return dsn(s.url, database, parameters)
}

// Restart stops the server and starts it again, with further lines of
// postgresql.conf, and returns when it accepts connections. Those that are open
// break.
func (s *Server) Restart(ctx context.Context, m Mode, config ...string) error {
	if s.bin == "" {
		return errors.New("restart PostgreSQL: it is run by somebody else")
	}
	if err := s.configure(config); err != nil {
		return fmt.Errorf("restart PostgreSQL: %w", err)
	}
	if err := s.control(ctx, "restart", "--mode", string(m)); err != nil {
		return fmt.Errorf("restart PostgreSQL: %w", err)
	}
	return nil
}

// Stop stops the server at once and removes its files. One that somebody else
// runs is left as it is.
func (s *Server) Stop() error {
	if s.keeper == nil {
		return nil
	}
	return s.keeper.stop()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

func (s *Server) start(ctx context.Context, o Options) error {
	initdb := command(ctx, s.dir, filepath.Join(s.bin, "initdb"),
		"--pgdata", s.data(), "--username", superuser, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync")
	if err := run(initdb); err != nil {
		return err
	}
	err := s.configure(append([]string{
		"listen_addresses = ''",
		"port = " + strconv.Itoa(serverPort),
		"unix_socket_directories = '" + s.dir + "'",
		"max_connections = 300",
	}, o.Config...))
	if err != nil {
		return err
	}
	return s.control(ctx, "start")
}

// configure appends to the file, whose last line on a setting counts.
func (s *Server) configure(lines []string) error {
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(append(lines, ""), "\n"))
	return errors.Join(err, f.Close())
}

// control runs pg_ctl, which waits until the server is ready.
func (s *Server) control(ctx context.Context, verb string, args ...string) error {
	args = append([]string{verb, "--wait", "--silent", "--pgdata", s.data(), "--log", s.log()}, args...)
	if err := run(command(ctx, s.dir, filepath.Join(s.bin, "pg_ctl"), args...)); err != nil {
		log, _ := os.ReadFile(s.log())
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

// Exec runs statements in the database of a DSN, one by one.
func Exec(ctx context.Context, dsn string, statements ...string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for _, statement := range statements {
		if _, err := c.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%.200s: %w", statement, err)
		}
	}
	return nil
}

const (
	superuser   = "postgres"
	serverPort  = 5432 // no more than part of the socket's name
	bouncerPort = 6432
)

// programs finds the directory of PostgreSQL's programs.
func programs() (string, error) {
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%w: pg_ctl is neither in PATH nor in /usr/lib/postgresql/*/bin", ErrMissing)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// socketURL addresses what listens in a directory.
func socketURL(dir string, port int) url.URL {
	query := url.Values{"host": {dir}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"}}
	return url.URL{Scheme: "postgres", User: url.User(superuser), RawQuery: query.Encode()}
}

func dsn(u url.URL, database string, parameters []string) string {
	query := u.Query()
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		query.Set(name, value)
	}
	u.Path = "/" + database
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // as libpq has it, + is no space
	return u.String()
}
