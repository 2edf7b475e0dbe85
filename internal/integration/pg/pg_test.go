package pg

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("PG_TEST_VICTIM") != "" {
		victim()
	}
	goleak.VerifyTestMain(m)
}

func TestDatabasesAreFreshAndDropped(t *testing.T) {
	s := ForTest(t)
	var names []string
	for range 2 {
		t.Run("", func(t *testing.T) {
			dsn := s.Database(t)
			for _, driver := range []string{"pgx", "postgres"} {
				db := open(t, driver, dsn)
				var name string
				if err := db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
					t.Fatalf("%s: %v", driver, err)
				}
				names = append(names, name)
			}
			if _, err := open(t, "pgx", dsn).ExecContext(t.Context(), "CREATE TABLE mine (id int)"); err != nil {
				t.Error("the database is not empty:", err)
			}
			Empty(t, dsn)
			if _, err := open(t, "postgres", dsn).ExecContext(t.Context(), "CREATE TABLE mine (id int)"); err != nil {
				t.Error("the database was not emptied:", err)
			}
		})
	}
	if len(names) != 4 || names[0] != names[1] || names[0] == names[2] {
		t.Errorf("two databases through two drivers each are %q", names)
	}
	var left int
	db := open(t, "pgx", s.DSN("postgres"))
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_database WHERE datname = ANY ($1)", names).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d databases are left, error %v", left, err)
	}
}

func TestTheServerIsDurable(t *testing.T) {
	ForTest(t)
	s, err := Start(t.Context(), Options{Config: []string{"max_connections = 17"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := Exec(t.Context(), s.DSN("postgres"), "CREATE TABLE kept AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), Immediate, "work_mem = '5MB'"); err != nil {
		t.Fatal(err)
	}
	db := open(t, "pgx", s.DSN("postgres", "application_name=a b"))
	for query, want := range map[string]string{
		"SELECT n::text FROM kept": "7",
		"SHOW fsync":               "on",
		"SHOW synchronous_commit":  "on",
		"SHOW max_connections":     "17",
		"SHOW work_mem":            "5MB",
		"SHOW application_name":    "a b",
	} {
		var got string
		if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, error %v, want %q", query, got, err, want)
		}
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Stop the directory is still there: %v", err)
	}
	if err := Exec(t.Context(), s.DSN("postgres"), "SELECT 1"); err == nil {
		t.Error("after Stop the server still answers")
	}
}

func TestBouncerSharesConnections(t *testing.T) {
	s := ForTest(t)
	b := BouncerForTest(t, s, "default_pool_size = 1")
	for driver, parameter := range map[string]string{"pgx": "default_query_exec_mode=exec", "postgres": "binary_parameters=yes"} {
		db := open(t, driver, b.Database(t, parameter))
		var pids [2]int
		for n := range pids {
			c, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.QueryRowContext(t.Context(), "SELECT pg_backend_pid() + $1::int", "0").Scan(&pids[n]); err != nil {
				t.Fatal(err)
			}
		}
		if pids[0] != pids[1] {
			t.Errorf("%s: two clients got the backends %v of a pool of one", driver, pids)
		}
	}
}

// victim starts servers, says where they are, and waits to be killed.
func victim() {
	ctx := context.Background()
	s, err := Start(ctx, Options{})
	if err != nil {
		panic(err)
	}
	b, err := StartBouncer(ctx, s)
	if err != nil {
		panic(err)
	}
	fmt.Println(s.dir)
	fmt.Println(b.dir)
	select {}
}

func TestServersDoNotOutliveAKilledProcess(t *testing.T) {
	BouncerForTest(t, ForTest(t)) // or skip
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "PG_TEST_VICTIM=1")
	c.Stderr = os.Stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var dirs, pids []string
	for lines := bufio.NewScanner(stdout); len(dirs) < 2 && lines.Scan(); {
		dirs = append(dirs, lines.Text())
	}
	for _, file := range []string{"data/postmaster.pid", "pid"} {
		content, err := os.ReadFile(filepath.Join(dirs[len(pids)], file))
		if err != nil {
			t.Error(err)
		}
		pid, _, _ := strings.Cut(string(content), "\n")
		pids = append(pids, pid)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait() // which reports the kill

	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.After(10 * time.Second); ; {
		gone := true
		for n := range dirs {
			_, err := os.Stat(dirs[n])
			gone = gone && errors.Is(err, fs.ErrNotExist) && !running(pids[n])
		}
		if gone {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("the processes %v or the directories %v are left", pids, dirs)
		}
	}
}

// running reports whether a process exists and is not a zombie, which is what
// becomes of a daemon where the first process does not reap.
func running(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// BenchmarkDatabase is what a database of its own costs a test.
func BenchmarkDatabase(b *testing.B) {
	s := ForTest(b)
	b.ResetTimer()
	for n := range b.N {
		name := fmt.Sprint("bench", n)
		if err := Exec(b.Context(), s.DSN("postgres"), "CREATE DATABASE "+name+" TEMPLATE template0", "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEmpty is what an emptied database costs, with a few tables in it.
func BenchmarkEmpty(b *testing.B) {
	dsn := ForTest(b).Database(b)
	for b.Loop() {
		Empty(b, dsn)
		var statements []string
		for n := range 6 {
			statements = append(statements, fmt.Sprintf("CREATE TABLE t%d (id int PRIMARY KEY, t text UNIQUE)", n))
		}
		if err := Exec(b.Context(), dsn, statements...); err != nil {
			b.Fatal(err)
		}
	}
}
