package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

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
//	for _, m := range migrations {
//		err := os.WriteFile("migrations/"+m.Name+".sql", []byte(m.SQL), 0o644)
//		…
//	}
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
func (s *Store) Migrate(ctx context.Context) error {
	err := s.write(ctx, func(q Querier) error {
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
				if _, err := s.execute(ctx, q, statement); err != nil {
					return fmt.Errorf("%s: %w", step.Name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
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
