package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

//go:embed postgresql/*.sql sqlite/*.sql
var schemas embed.FS

// Migration is one step of the schema.
type Migration struct {
	Name string // such as "0001_tables"; they are applied in the order of their names
	SQL  string
}

// Migrations returns the SQL that [Store.Migrate] executes, for teams that run
// migrations with a tool of their own. Each step records itself in the table
// outhook_schema and is to be applied once, in a transaction that ends with the
// first error, as psql -1 -v ON_ERROR_STOP=1 does. A program that writes them to
// files:
//
//	migrations, err := sqlstore.Migrations(sqlstore.PostgreSQL)
//	…
//	err = os.MkdirAll("migrations", 0o755)
//	…
//	for _, m := range migrations {
//		err := os.WriteFile(filepath.Join("migrations", m.Name+".sql"), []byte(m.SQL), 0o644)
//		…
//	}
//
// The database itself, which Migrate looks at, is nobody's concern then: see
// there what a connection to SQLite needs.
//
// Options are those of [New], and so are the mistakes that are
// [webhook.ErrInvalid].
func Migrations(d Dialect, options ...Option) ([]Migration, error) {
	s := New(new(sql.DB), d, options...) // which nothing is asked of
	if s.invalid != nil {
		return nil, s.invalid
	}
	return s.migrations(), nil
}

func (s *Store) migrations() []Migration {
	files, err := fs.Glob(schemas, s.dialect.schema()+"/*.sql") // sorted
	if err != nil {
		panic(err) // the pattern is constant
	}
	steps := make([]Migration, len(files))
	for n, file := range files {
		text, err := schemas.ReadFile(file)
		if err != nil {
			panic(err) // it is embedded
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(file, ".sql"), "/")
		steps[n] = Migration{Name: name, SQL: s.named(string(text))}
	}
	if schema, _, ok := strings.Cut(s.prefix, "."); ok {
		steps[0].SQL = "CREATE SCHEMA IF NOT EXISTS " + schema + ";\n\n" + steps[0].SQL
	}
	return steps
}

// Migrate creates the tables or brings them up to date. It is safe to call
// always, by any number of processes at once. A schema that is newer than this
// package is [webhook.ErrNotSupported].
//
// It first looks at the database, and refuses with [webhook.ErrInvalid] one of
// the other dialect, and connections to SQLite that would fail as soon as two
// write or one writes while another reads: a file needs a busy timeout and WAL,
// both of which [SQLiteDSN] sets; a database in memory must not be another one on
// every connection.
func (s *Store) Migrate(ctx context.Context) error {
	err := s.begin(ctx)
	if err == nil {
		err = s.inspect(ctx)
	}
	if err == nil {
		err = s.migrate(ctx)
	}
	if err == nil {
		err = s.checkShared(ctx)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	return s.write(ctx, func(q Querier) error {
		if err := s.dialect.lockSchema(ctx, s, q); err != nil {
			return err
		}
		version, err := s.version(ctx, q)
		if err != nil {
			return err
		}
		steps := s.migrations()
		if version > len(steps) {
			return fmt.Errorf("%w: the schema has version %d, this package knows %d; upgrade it", webhook.ErrNotSupported, version, len(steps))
		}
		for _, step := range steps[version:] {
			for _, statement := range statements(step.SQL) {
				if err := execute(ctx, q, statement); err != nil {
					return fmt.Errorf("%s: %w", step.Name, err)
				}
			}
		}
		return nil
	})
}

// inspect returns why the database, or a connection to it, is none that the
// store can work with.
func (s *Store) inspect(ctx context.Context) error {
	if _, ok := s.dialect.(sqlite); ok {
		return s.onConnections(ctx, s.inspectSQLite)
	}
	return s.read(ctx, func(q Querier) error {
		_, err := s.one(ctx, q, "SELECT current_setting('server_version')", nil, new(string))
		if misunderstood(err) {
			return fmt.Errorf("%w dialect %v: this is an SQLite database; use sqlstore.SQLite", webhook.ErrInvalid, PostgreSQL)
		}
		return err
	})
}

func (s *Store) inspectSQLite(ctx context.Context, q Querier) error {
	_, err := s.one(ctx, q, "SELECT sqlite_version()", nil, new(string))
	if strings.HasPrefix(sqlState(err), "42") {
		return fmt.Errorf("%w dialect %v: this is a PostgreSQL database; use sqlstore.PostgreSQL", webhook.ErrInvalid, SQLite)
	}
	if err != nil {
		return err
	}
	var (
		timeout       int64
		file, journal string // file is "" for a database in memory
	)
	for _, question := range []struct {
		query  string
		answer any
	}{
		{"PRAGMA busy_timeout", &timeout},
		{"SELECT coalesce(file, '') FROM pragma_database_list WHERE name = 'main'", &file},
		{"PRAGMA journal_mode", &journal},
	} {
		if _, err := s.one(ctx, q, question.query, nil, question.answer); err != nil {
			return err
		}
	}
	const remedy = "open the database with sqlstore.SQLiteDSN(path), which sets it on every connection"
	switch {
	case file == "": // see checkShared
	case timeout == 0:
		return fmt.Errorf("%w connection to SQLite: its busy_timeout is 0, so that it fails whenever another one writes; %s", webhook.ErrInvalid, remedy)
	case journal != "wal":
		return fmt.Errorf("%w connection to SQLite: its journal_mode is %q instead of WAL, so that readers and writers keep each other out; %s", webhook.ErrInvalid, journal, remedy)
	}
	return nil
}

// checkShared returns an error where each connection has a database in memory
// of its own: one of them lacks the tables that were just made.
func (s *Store) checkShared(ctx context.Context) error {
	if _, ok := s.dialect.(sqlite); !ok || s.transaction(ctx) != nil {
		return nil
	}
	return s.onConnections(ctx, func(ctx context.Context, q Querier) error {
		version, err := s.version(ctx, q)
		if err == nil && version == 0 {
			return fmt.Errorf("%w pool of connections to SQLite: in memory, each connection has a database of its own; call db.SetMaxOpenConns(1), or use webhook.NewMemoryStore()", webhook.ErrInvalid)
		}
		return err
	})
}

// onConnections calls f for the caller's transaction, or for two connections
// that are held at once: what was set on one by hand is not on the other. Where
// a small pool has no second one to spare, one must do.
func (s *Store) onConnections(ctx context.Context, f func(context.Context, Querier) error) error {
	if q := s.transaction(ctx); q != nil {
		return ended(ctx, f(ctx, q))
	}
	first, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	if err := f(ctx, sqlQuerier{first}); err != nil || s.db.Stats().MaxOpenConnections == 1 {
		return ended(ctx, err)
	}
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	second, err := s.connect(soon)
	if err != nil {
		if soon.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	defer second.Close()
	return ended(ctx, f(ctx, sqlQuerier{second}))
}

// version returns the last step that was applied, 0 for none.
func (s *Store) version(ctx context.Context, q Querier) (version int, err error) {
	exists, err := s.one(ctx, q, s.dialect.tableExists(), []any{s.named("outhook_schema")}, new(int))
	if err != nil || !exists {
		return 0, err
	}
	_, err = s.one(ctx, q, "SELECT coalesce(max(version), 0) FROM outhook_schema", nil, &version)
	return version, err
}

// statements splits SQL into statements, since not every driver takes several
// at once. A statement ends with the line that ends with a semicolon, outside
// of $$.
func statements(text string) (all []string) {
	var statement strings.Builder
	quoted := false
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "--")
		if strings.Count(code, "$$")%2 == 1 {
			quoted = !quoted
		}
		statement.WriteString(line)
		if !quoted && strings.HasSuffix(strings.TrimSpace(code), ";") {
			all = append(all, statement.String())
			statement.Reset()
		}
	}
	return all
}
