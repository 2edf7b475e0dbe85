package hookdb

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook/internal/integration/pg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAFailedStatementLeavesNothingBehind(t *testing.T) {
	before := func() (func() error, error) { return nil, &Failure{"40001"} }
	after := func() (func() error, error) {
		return func() error { return &Failure{"40001"} }, nil
	}
	for name, fail := range map[string]func() (func() error, error){"before": before, "after": after} {
		t.Run(name, func(t *testing.T) {
			onEachDatabase(t, func(t *testing.T, open func(Hook) *sql.DB) {
				var failing string
				db := open(func(_ context.Context, query string) (func() error, error) {
					if query == failing {
						return fail()
					}
					return nil, nil
				})
				exec(t, db, "CREATE TABLE things (id integer)")
				failing = "INSERT INTO things VALUES (1)"
				if _, err := db.ExecContext(t.Context(), failing); !isFailure(err, "40001") {
					t.Errorf("outside a transaction the statement returned %v", err)
				}
				failing = "INSERT INTO things VALUES (2) RETURNING id"
				if err := db.QueryRowContext(t.Context(), failing).Scan(new(int)); !isFailure(err, "40001") {
					t.Errorf("outside a transaction the query returned %v", err)
				}
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				exec(t, tx, "INSERT INTO things VALUES (3)")
				if _, err := tx.ExecContext(t.Context(), failing); !isFailure(err, "40001") {
					t.Errorf("in a transaction the statement returned %v", err)
				}
				if _, err := tx.ExecContext(t.Context(), "INSERT INTO things VALUES (4)"); !isFailure(err, inFailedTransaction) {
					t.Errorf("after a failure the next statement returned %v", err)
				}
				if err := tx.Commit(); !isFailure(err, inFailedTransaction) {
					t.Errorf("after a failure Commit returned %v", err)
				}
				failing = ""
				exec(t, db, "INSERT INTO things VALUES (5)")
				if got := things(t, db); !slices.Equal(got, []int{5}) {
					t.Errorf("there are %v, want [5]", got)
				}
			})
		})
	}
}

func TestWhatIsExecutedIsNotCommittedYet(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, open func(Hook) *sql.DB) {
		other := open(func(context.Context, string) (func() error, error) { return nil, nil })
		exec(t, other, "CREATE TABLE things (id integer)")
		const insert = "INSERT INTO things VALUES (1) RETURNING id"
		var seen []int
		db := open(func(_ context.Context, query string) (func() error, error) {
			if query != insert {
				return nil, nil
			}
			return func() error { seen = append(seen, things(t, other)...); return nil }, nil
		})
		var id int
		if err := db.QueryRowContext(t.Context(), insert).Scan(&id); err != nil || id != 1 {
			t.Errorf("the query returned %d, error %v", id, err)
		}
		if len(seen) > 0 {
			t.Errorf("others saw %v before the commit", seen)
		}
		if got := things(t, other); !slices.Equal(got, []int{1}) {
			t.Errorf("there are %v, want [1]", got)
		}
	})
}

func TestACommitCanFailBeforeAndAfter(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, open func(Hook) *sql.DB) {
		lost := errors.New("lost")
		for n, hook := range []Hook{
			func(context.Context, string) (func() error, error) { return nil, lost },
			func(context.Context, string) (func() error, error) { return func() error { return lost }, nil },
		} {
			armed := false
			db := open(func(ctx context.Context, query string) (func() error, error) {
				if armed && query == "COMMIT" {
					return hook(ctx, query)
				}
				return nil, nil
			})
			exec(t, db, "CREATE TABLE IF NOT EXISTS things (id integer)")
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, tx, "INSERT INTO things VALUES (1)")
			armed = true
			if err := tx.Commit(); !errors.Is(err, lost) {
				t.Errorf("Commit returned %v", err)
			}
			if got := things(t, db); len(got) != n {
				t.Errorf("there are %v, want %d", got, n)
			}
		}
	})
}

// onEachDatabase runs the test on an empty database of each kind.
func onEachDatabase(t *testing.T, test func(t *testing.T, open func(Hook) *sql.DB)) {
	opener := func(t *testing.T, driver, dsn string) func(Hook) *sql.DB {
		return func(hook Hook) *sql.DB {
			db, err := Open(driver, dsn, hook)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			return db
		}
	}
	t.Run("pgx", func(t *testing.T) { test(t, opener(t, "pgx", pg.ForTest(t).Database(t))) })
	t.Run("sqlite", func(t *testing.T) {
		test(t, opener(t, "sqlite", filepath.Join(t.TempDir(), "things.db")+"?_pragma=journal_mode(WAL)"))
	})
}

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func exec(t *testing.T, e executor, query string) {
	t.Helper()
	if _, err := e.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// things returns what the table holds.
func things(t *testing.T, db *sql.DB) (ids []int) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM things ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func isFailure(err error, state string) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && f.State == state
}
