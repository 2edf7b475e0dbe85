package pg

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// shared is the server of [ForTest].
var shared struct {
	sync.Once
	server *Server
	err    error
}

// ForTest returns a server that all tests of the process share. It is started by
// the first call, and stopped when the process ends; or it is that of the URL in
// the environment variable OUTHOOK_POSTGRES_DSN, see [Open]. Where there is none
// the test is skipped, or fails if OUTHOOK_REQUIRE is not empty.
func ForTest(t testing.TB) *Server {
	t.Helper()
	shared.Do(func() {
		if dsn := os.Getenv("OUTHOOK_POSTGRES_DSN"); dsn != "" {
			shared.server, shared.err = Open(dsn)
			return
		}
		shared.server, shared.err = Start(context.Background(), Options{})
	})
	need(t, shared.err)
	return shared.server
}

// Database creates an empty database for the test and returns its DSN, with the
// parameters of [Server.DSN]. It is dropped when the test ends, with the
// connections that are left. That writes everything to disk and takes a tenth of
// a second or two; a test that needs many should [Empty] one.
func (s *Server) Database(t testing.TB, parameters ...string) (dsn string) {
	t.Helper()
	return s.DSN(s.create(t), parameters...)
}

// Database is [Server.Database] through the PgBouncer.
func (b *Bouncer) Database(t testing.TB, parameters ...string) (dsn string) {
	t.Helper()
	return b.DSN(b.server.create(t), parameters...)
}

// create creates a database for the test.
func (s *Server) create(t testing.TB) (name string) {
	t.Helper()
	name = "outhook_test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := Exec(t.Context(), s.DSN("postgres"), "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := Exec(context.Background(), s.DSN("postgres"), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	return name
}

// Empty drops everything in the database of a DSN, in milliseconds.
func Empty(t testing.TB, dsn string) {
	t.Helper()
	err := Exec(t.Context(), dsn, `DO $$
		DECLARE name text;
		BEGIN
			FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
				EXECUTE format('DROP SCHEMA %I CASCADE', name);
			END LOOP;
		END $$`, "CREATE SCHEMA public")
	if err != nil {
		t.Fatalf("empty the database: %v", err)
	}
}

// BouncerForTest starts a PgBouncer before the server, see [StartBouncer], which
// is stopped when the test ends. Where there is none the test is skipped, or
// fails if OUTHOOK_REQUIRE is not empty.
func BouncerForTest(t testing.TB, s *Server, config ...string) *Bouncer {
	t.Helper()
	b, err := StartBouncer(t.Context(), s, config...)
	need(t, err)
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Errorf("stop PgBouncer: %v", err)
		}
	})
	return b
}

// need ends a test that cannot go on.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("OUTHOOK_REQUIRE") == "":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}
