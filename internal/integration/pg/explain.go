package pg

import (
	"context"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Explained is a transaction whose plans are reported.
type Explained struct {
	Tx       pgx.Tx
	reported []string
}

// Explain begins a transaction in a session of its own, which is rolled back at
// the end of the test.
func Explain(t testing.TB, dsn string) *Explained {
	t.Helper()
	x := new(Explained)
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { x.reported = append(x.reported, n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), `LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
		SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off; SET auto_explain.log_level = 'notice'; SET client_min_messages = 'notice'`); err != nil {
		t.Fatal(err)
	}
	if x.Tx, err = conn.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

// Plans returns the plans of the statements that run executes.
func (x *Explained) Plans(run func()) []string {
	x.reported = nil
	run()
	// A plan is reported when the next statement takes its place.
	if _, err := x.Tx.Exec(context.Background(), "SELECT 'next'"); err != nil {
		return []string{err.Error()}
	}
	return slices.DeleteFunc(x.reported, func(plan string) bool { return strings.Contains(plan, "SELECT 'next'") })
}

var actualRows = regexp.MustCompile(`(?:actual rows=|Rows Removed by Filter: )(\d+)`)

// RowsOf returns the most rows that a step of a plan has read.
func RowsOf(plan string) (most int) {
	for _, m := range actualRows.FindAllStringSubmatch(plan, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return math.MaxInt
		}
		most = max(most, n)
	}
	return most
}
