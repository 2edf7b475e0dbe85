package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"       // "pgx"
	_ "github.com/ncruces/go-sqlite3/driver" // "sqlite3"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

// connections is how many a pool has, River's too.
const connections = 16

// databases is where stores keep what they hold.
type databases struct {
	server *pg.Server // PostgreSQL; nil if there is none
	dir    string     // of SQLite's files
	made   int
}

// openDatabases starts a PostgreSQL server where that is installed, with its
// default settings but for those given.
func openDatabases(ctx context.Context, settings ...string) (*databases, error) {
	server, err := pg.Start(ctx, pg.Options{Config: settings})
	if err != nil && !(errors.Is(err, pg.ErrMissing) && os.Getenv("OUTHOOK_REQUIRE") == "") {
		return nil, err
	}
	d := &databases{server: server}
	if d.dir, err = os.MkdirTemp("", "outhook-benchmarks-"); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *databases) close() error {
	err := os.RemoveAll(d.dir)
	if d.server != nil {
		err = errors.Join(err, d.server.Stop())
	}
	return err
}

// cpuTime returns the processor time that the processes of the PostgreSQL server
// have used so far, 0 where there is no /proc.
func (d *databases) cpuTime(ctx context.Context) (total time.Duration, err error) {
	c, err := pgx.Connect(ctx, d.server.DSN("postgres"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	rows, err := c.Query(ctx, "SELECT pid FROM pg_stat_activity")
	if err != nil {
		return 0, err
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	postmaster := 0
	for _, pid := range pids {
		s := statOf(pid)
		total += s.own
		postmaster = max(postmaster, s.parent)
	}
	return total + statOf(postmaster).children, err
}

// stat is part of proc(5)'s /proc/PID/stat.
type stat struct {
	parent        int
	own, children time.Duration // of processor time; children are those that have ended
}

// tick is the unit of processor time in /proc.
const tick = time.Second / 100

func statOf(pid int) (s stat) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s // it has just ended
	}
	var state string
	var skipped, user, system, childrenUser, childrenSystem int64
	_, fields, _ := bytes.Cut(b, []byte(") "))
	_, _ = fmt.Sscan(string(fields), &state, &s.parent, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped,
		&user, &system, &childrenUser, &childrenSystem)
	s.own, s.children = time.Duration(user+system)*tick, time.Duration(childrenUser+childrenSystem)*tick
	return s
}

// kinds returns the durable kinds of stores that can be had here.
func (d *databases) kinds() []kind {
	kinds := []kind{{name: "SQLite", open: d.openSQLite}}
	if d.server != nil {
		kinds = append(kinds, kind{name: "PostgreSQL", open: d.openPostgreSQL, cpuTime: d.cpuTime})
	}
	return kinds
}

// busyTime returns the processor time that the machine has used so far, 0 where
// there is no /proc.
func busyTime() (total time.Duration) {
	b, _ := os.ReadFile("/proc/stat")
	var label string
	var user, nice, system, idle, waiting, interrupts, soft, stolen int64
	_, _ = fmt.Sscan(string(b), &label, &user, &nice, &system, &idle, &waiting, &interrupts, &soft, &stolen)
	return time.Duration(user+nice+system+interrupts+soft+stolen) * tick
}

// kindsOf returns the kinds of stores that can be had here and are asked for.
func kindsOf(s size, d *databases) []kind {
	return slices.DeleteFunc(append([]kind{inMemory}, d.kinds()...), func(k kind) bool {
		return len(s.stores) > 0 && !slices.Contains(s.stores, k.name)
	})
}

// ofEach measures with one kind of store after the other, beside one receiver.
func ofEach(ctx context.Context, kinds []kind, measure func(kind, *receiver) ([]figure, error)) (figures []figure, err error) {
	r, err := startReceiver(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for _, k := range kinds {
		measured, err := measure(k, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		figures = append(figures, measured...)
	}
	return figures, nil
}

// kind is a kind of store.
type kind struct {
	name    string
	open    func(context.Context) (*store, error) // an empty one
	cpuTime func(context.Context) (time.Duration, error)
}

var inMemory = kind{name: "memory", open: func(context.Context) (*store, error) {
	nothing := func() error { return nil }
	return &store{Store: webhook.NewMemoryStore(), ready: func(context.Context) error { return nil }, close: nothing}, nil
}}

// store is a Store to measure.
type store struct {
	webhook.Store
	// Of one in a database:
	db          *sql.DB
	driver, dsn string
	dialect     sqlstore.Dialect
	// ready finishes what filling the store has left to do, so that it does not
	// fall into the measurement.
	ready func(context.Context) error
	close func() error // and forgets what it holds
}

// Unwrap lets a Dispatcher find what the Store can do beside.
func (s *store) Unwrap() webhook.Store { return s.Store }

// HandsOver implements [webhook.HandOver] where the Store does.
func (s *store) HandsOver(ctx context.Context) bool {
	h, ok := s.Store.(webhook.HandOver)
	return ok && h.HandsOver(ctx)
}

// logged returns an error unless n attempts are logged.
func (s *store) logged(ctx context.Context, n int) error {
	if s.db == nil {
		return nil
	}
	var attempts int
	err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM outhook_attempts").Scan(&attempts)
	if err == nil && attempts != n {
		err = fmt.Errorf("%d attempts are logged, want %d", attempts, n)
	}
	return err
}

func (d *databases) openPostgreSQL(ctx context.Context) (*store, error) {
	dsn, drop, err := d.create(ctx)
	if err != nil {
		return nil, err
	}
	s := &store{driver: "pgx", dsn: dsn, dialect: sqlstore.PostgreSQL}
	s.ready = func(ctx context.Context) error { return ready(ctx, dsn) }
	return s.connect(ctx, drop)
}

// connect opens the database, whose forgetting is given, and creates the tables.
func (s *store) connect(ctx context.Context, forget func() error) (_ *store, err error) {
	if s.db, err = sql.Open(s.driver, s.dsn); err != nil {
		return nil, errors.Join(err, forget())
	}
	s.db.SetMaxOpenConns(connections)
	s.db.SetMaxIdleConns(connections)
	s.close = func() error { return errors.Join(s.db.Close(), forget()) }
	durable := sqlstore.New(s.db, s.dialect)
	s.Store = durable
	if err := durable.Migrate(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// create creates a PostgreSQL database.
func (d *databases) create(ctx context.Context) (dsn string, drop func() error, err error) {
	d.made++
	name := fmt.Sprintf("benchmark_%d", d.made)
	drop = func() error {
		return pg.Exec(context.WithoutCancel(ctx), d.server.DSN("postgres"), "DROP DATABASE "+name+" WITH (FORCE)")
	}
	return d.server.DSN(name), drop, pg.Exec(ctx, d.server.DSN("postgres"), "CREATE DATABASE "+name)
}

// ready is store.ready of a PostgreSQL database.
func ready(ctx context.Context, dsn string) error {
	return pg.Exec(ctx, dsn, "ANALYZE", "CHECKPOINT")
}

func (d *databases) openSQLite(ctx context.Context) (*store, error) {
	d.made++
	dir := filepath.Join(d.dir, fmt.Sprint(d.made))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{driver: "sqlite3", dsn: sqlstore.SQLiteDSN(filepath.Join(dir, "outhook.db")), dialect: sqlstore.SQLite}
	s.ready = func(ctx context.Context) error {
		_, err := s.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	}
	return s.connect(ctx, func() error { return os.RemoveAll(dir) })
}
