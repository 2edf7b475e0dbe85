package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// script is a database that writes down what it is told to execute, and fails
// where it is told to.
type script struct {
	said []string
	fail map[string]error // by statement
}

func (s *script) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s *script) Driver() driver.Driver                        { return nil }
func (s *script) Close() error                                 { return nil }
func (s *script) Begin() (driver.Tx, error)                    { return s, s.say("BEGIN") }
func (s *script) Commit() error                                { return s.say("COMMIT") }
func (s *script) Rollback() error                              { return s.say("ROLLBACK") }
func (s *script) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("nothing is prepared") }
func (s *script) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	return nothing{}, s.say(strings.TrimSuffix(strings.TrimSuffix(query, " one_change"), " SAVEPOINT"))
}

func (s *script) say(statement string) error {
	s.said = append(s.said, statement)
	return s.fail[statement]
}

// nothing are no rows.
type nothing struct{}

func (nothing) Columns() []string         { return nil }
func (nothing) Close() error              { return nil }
func (nothing) Next([]driver.Value) error { return io.EOF }

func TestAChangeThatFailsDoesNotKeepItsNeighboursFromSharingACommit(t *testing.T) {
	conflict := webhook.ErrConflict
	full, broken := errors.New("database or disk is full"), errors.New("disk I/O error")
	for name, c := range map[string]struct {
		fail map[string]error
		want []error // of a, b and c
		said string
	}{
		"none fails": {
			nil, []error{nil, nil, nil},
			"BEGIN a b c COMMIT",
		},
		"one fails": {
			map[string]error{"b": conflict}, []error{nil, conflict, nil},
			"BEGIN a b ROLLBACK BEGIN SAVEPOINT a RELEASE SAVEPOINT b ROLLBACK TO RELEASE SAVEPOINT c RELEASE COMMIT",
		},
		"one ends the transaction": {
			map[string]error{"b": full, "ROLLBACK TO": errors.New("no such savepoint")}, []error{nil, full, nil},
			"BEGIN a b ROLLBACK BEGIN SAVEPOINT a RELEASE SAVEPOINT b ROLLBACK TO ROLLBACK BEGIN a COMMIT BEGIN b ROLLBACK BEGIN c COMMIT",
		},
		"one fails and the commit is uncertain": {
			map[string]error{"b": conflict, "COMMIT": broken}, []error{webhook.ErrUncertain, conflict, webhook.ErrUncertain},
			"BEGIN a b ROLLBACK BEGIN SAVEPOINT a RELEASE SAVEPOINT b ROLLBACK TO RELEASE SAVEPOINT c RELEASE COMMIT",
		},
		"the commit is uncertain": {
			map[string]error{"COMMIT": broken}, []error{webhook.ErrUncertain, webhook.ErrUncertain, webhook.ErrUncertain},
			"BEGIN a b c COMMIT",
		},
	} {
		t.Run(name, func(t *testing.T) {
			script := &script{fail: c.fail}
			s := New(sql.OpenDB(script), SQLite)
			defer s.db.Close()
			var changes []*change
			for _, statement := range []string{"a", "b", "c"} {
				changes = append(changes, &change{done: make(chan struct{}), f: func(q Querier) error {
					err := execute(t.Context(), q, statement)
					return err
				}})
			}
			s.commitChanges(changes)
			for n, change := range changes {
				<-change.done
				if !errors.Is(change.err, c.want[n]) {
					t.Errorf("change %d ended with %v, want %v", n, change.err, c.want[n])
				}
			}
			said := slices.DeleteFunc(script.said, func(statement string) bool { return statement == sqliteLock })
			if got := strings.Join(said, " "); got != c.said {
				t.Errorf("the database was told\n%s, want\n%s", got, c.said)
			}
		})
	}
}

// holding is a transaction in which all deliveries are held, in the order of their
// settlements. It writes down what it is told.
type holding struct {
	held int
	said []any
}

func (h *holding) Query(_ context.Context, query string, args ...any) (Rows, error) {
	if query == sqliteHeld {
		return &heldRows{held: h.held}, nil
	}
	h.said = append(append(h.said, query), args...)
	return &heldRows{}, nil
}

// heldRows are what sqliteHeld returns of deliveries that were never attempted.
type heldRows struct{ n, held int }

func (r *heldRows) Next() bool { r.n++; return r.n <= r.held }
func (r *heldRows) Err() error { return nil }
func (r *heldRows) Close()     {}
func (r *heldRows) Scan(dest ...any) error {
	*dest[0].(*int) = r.n - 1
	*dest[1].(*int64) = int64(100 + r.n) // seq
	*dest[3].(*int64) = 1                // lease
	*dest[4].(*bool) = true
	return nil
}

// A transaction that is undone, because of another's change in it, is repeated with
// what was prepared for it.
func TestASettlementThatIsUndoneIsTheSameAgain(t *testing.T) {
	const n = 2*sqliteTogether + 3
	s := New(sql.OpenDB(&script{}), SQLite)
	defer s.db.Close()
	s.SetClock(func() time.Time { return time.Unix(1_790_000_000, 0) })
	ss := make([]*webhook.Settlement, n)
	for i := range ss {
		ss[i] = &webhook.Settlement{DeliveryID: fmt.Sprint("delivery-", i), Lease: 1, State: webhook.StateDelivered, Counted: true,
			Attempt: &webhook.Attempt{ID: fmt.Sprint("attempt-", i), Number: 1, StartedAt: time.Unix(int64(i), 0), StatusCode: 200}}
	}
	settle := s.dialect.settling(ss)
	var said [2][]any
	for round := range said {
		h := &holding{held: n}
		if stale, err := settle(t.Context(), s, h); err != nil || len(stale) > 0 {
			t.Fatalf("stale %v, error %v", stale, err)
		}
		said[round] = h.said
	}
	if !reflect.DeepEqual(said[0], said[1]) {
		t.Errorf("the transaction was told\n%v\nand the second time\n%v", said[0], said[1])
	}
	for i := range ss {
		if !slices.Contains(said[0], any(ss[i].Attempt.ID)) {
			t.Errorf("%s is not logged", ss[i].Attempt.ID)
		}
	}
}
