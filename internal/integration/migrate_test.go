package integration

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

// migrationEnv makes this program a process that only migrates: its value is the
// driver, the number of the dialect and the DSN.
const migrationEnv = "OUTHOOK_TEST_MIGRATION"

// migrateInChild says when it is ready, and migrates when its input ends.
func migrateInChild() (code int) {
	parts := strings.SplitN(os.Getenv(migrationEnv), " ", 3)
	dialect, err := strconv.Atoi(parts[1])
	if err != nil {
		panic(err)
	}
	db, err := sql.Open(parts[0], parts[2])
	if err == nil {
		defer db.Close()
		err = db.Ping()
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err == nil {
		err = sqlstore.New(db, sqlstore.Dialect(dialect)).Migrate(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestTenProcessesMigrateAtOnce(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		next := b.databases(t)
		alone := next(t)
		b.store(t, alone)
		want := b.schema(t, alone)

		dsn := next(t)
		executable, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		var children []*exec.Cmd
		var starts []io.Closer
		for range 10 {
			c := exec.CommandContext(t.Context(), executable)
			c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", migrationEnv, b.driver, b.dialect, dsn))
			c.Stderr = new(strings.Builder)
			stdin, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
				t.Fatalf("a process said %q, error %v", line, err)
			}
			children, starts = append(children, c), append(starts, stdin)
		}
		for _, s := range starts {
			s.Close()
		}
		for _, c := range children {
			if err := c.Wait(); err != nil {
				t.Errorf("a process could not migrate: %v\n%s", err, c.Stderr)
			}
		}
		wantSchema(t, b.schema(t, dsn), want)
	})
}

func TestTenHandlesMigrateAtOnce(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		for _, prefix := range prefixes(b) {
			dsn := b.database(t)
			var group sync.WaitGroup
			for range 10 {
				store := sqlstore.New(b.open(t, dsn), b.dialect, sqlstore.TablePrefix(prefix))
				group.Go(func() {
					if err := store.Migrate(t.Context()); err != nil {
						t.Errorf("migrate with prefix %q: %v", prefix, err)
					}
				})
			}
			group.Wait()
		}
	})
}

func TestMigrateAgainChangesNothing(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		a := b.newApp(t, dsn)
		a.register(t, t.Context(), nowhere)
		a.publish(t, t.Context(), "event")
		objects := func() []string {
			if b.dialect == sqlstore.SQLite {
				return b.strings(t, dsn, "PRAGMA schema_version")
			}
			// What creates, replaces or alters leaves a new transaction number.
			return b.strings(t, dsn, `
				SELECT oid || ' ' || xmin || ' ' || relname FROM pg_class
				UNION ALL SELECT oid || ' ' || xmin || ' ' || proname FROM pg_proc ORDER BY 1`)
		}
		schema, before := b.schema(t, dsn), objects()
		for range 2 {
			if err := a.store.Migrate(t.Context()); err != nil {
				t.Fatalf("migrate again: %v", err)
			}
		}
		wantSchema(t, b.schema(t, dsn), schema)
		if !slices.Equal(objects(), before) {
			t.Error("migrating again has replaced something")
		}
		if !a.known(t, "event") {
			t.Error("migrating again has lost an event")
		}
	})
}

func TestPrefixesDoNotSeeEachOther(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		receiver := newReceiver(t)
		var apps []*app
		for _, prefix := range prefixes(b) {
			a := b.newApp(t, dsn, sqlstore.TablePrefix(prefix))
			a.register(t, t.Context(), receiver.url+prefix+"/")
			apps = append(apps, a)
		}
		want := make(map[string]bool)
		for n, prefix := range prefixes(b) {
			apps[n].publish(t, t.Context(), "same") // in another table it is no duplicate
			want["/"+prefix+"/same"] = true
		}
		for _, a := range apps {
			if page, err := a.Endpoints(t.Context(), webhook.EndpointFilter{}); err != nil || page.Total != 1 {
				t.Errorf("%d endpoints, error %v, want 1", page.Total, err)
			}
			a.run(t)
		}
		for range apps {
			if message := receiver.next(t); !want[message] {
				t.Errorf("received %s, want one of %v", message, want)
			} else {
				delete(want, message)
			}
		}
	})
}

func TestANewerSchemaIsRefused(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		a := b.newApp(t, dsn)
		if _, err := a.db.ExecContext(t.Context(), "INSERT INTO outhook_schema (version) VALUES (1000)"); err != nil {
			t.Fatal(err)
		}
		schema := b.schema(t, dsn)
		err := a.store.Migrate(t.Context())
		if !errors.Is(err, webhook.ErrNotSupported) || !strings.Contains(err.Error(), "1000") {
			t.Errorf("migrate: error %v, want ErrNotSupported with the version that was found", err)
		}
		wantSchema(t, b.schema(t, dsn), schema)
	})
}

func TestMigrationsAppliedByHandAreWhatMigrateDoes(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		for _, prefix := range prefixes(b) {
			next := b.databases(t)
			migrated := next(t)
			b.store(t, migrated, sqlstore.TablePrefix(prefix))
			want := b.schema(t, migrated)

			dsn := next(t)
			migrations, err := sqlstore.Migrations(b.dialect, sqlstore.TablePrefix(prefix))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range migrations {
				b.script(t, dsn, m.SQL)
			}
			wantSchema(t, b.schema(t, dsn), want)
			a := b.newApp(t, dsn, sqlstore.TablePrefix(prefix))
			a.register(t, t.Context(), nowhere)
			if n := a.publish(t, t.Context(), "event"); n != 1 {
				t.Errorf("on a schema made by hand an event has %d deliveries, want 1", n)
			}
		}
	})
}

// prefixes returns table prefixes of all kinds, the default one first.
func prefixes(b backend) []string {
	if b.dialect == sqlstore.SQLite {
		return []string{"outhook_", "app_"}
	}
	return []string{"outhook_", "app_", "webhooks.", "webhooks.app_"}
}

// script executes many statements as a migration tool does: at once.
func (b backend) script(t *testing.T, dsn, script string) {
	t.Helper()
	if b.dialect == sqlstore.PostgreSQL {
		if err := pg.Exec(t.Context(), dsn, script); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := b.open(t, dsn).ExecContext(t.Context(), script); err != nil {
		t.Fatal(err)
	}
}

// schema describes all tables, indexes, constraints and functions, and how many
// rows there are.
func (b backend) schema(t *testing.T, dsn string) []string {
	t.Helper()
	var description, tables []string
	if b.dialect == sqlstore.SQLite {
		description = b.strings(t, dsn, "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY 1")
		tables = b.strings(t, dsn, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
	} else {
		const ours = ` NOT IN ('pg_catalog', 'pg_toast', 'information_schema') `
		description = b.strings(t, dsn, `
			SELECT 'column ' || concat_ws(' ', table_schema, table_name, ordinal_position, column_name, data_type, is_nullable, column_default, collation_name, identity_generation)
				FROM information_schema.columns WHERE table_schema`+ours+`
			UNION ALL SELECT concat_ws(' ', c.relkind, n.nspname, c.relname, c.reloptions)
				FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname`+ours+`
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname`+ours+`
			UNION ALL SELECT concat_ws(' ', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid))
				FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname`+ours+`
			UNION ALL SELECT pg_get_functiondef(p.oid)
				FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname`+ours+`
			ORDER BY 1`)
		tables = b.strings(t, dsn, "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname"+ours+"ORDER BY 1")
	}
	for _, table := range tables {
		description = append(description, table+" has rows: "+b.strings(t, dsn, "SELECT count(*) FROM "+table)[0])
	}
	return description
}

// strings returns the first column of a query.
func (b backend) strings(t *testing.T, dsn, query string) (values []string) {
	t.Helper()
	rows, err := b.open(t, dsn).QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

func wantSchema(t *testing.T, got, want []string) {
	t.Helper()
	if len(want) < 10 {
		t.Errorf("the schema has only %q", want)
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("the schema has too much: %.500s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("the schema lacks: %.500s", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the schema has %d parts, want %d", len(got), len(want))
	}
}
