// Package crash proves that nothing is lost when processes die or stall. Its
// tests start programs, each in a process of its own: a sender, which publishes
// and delivers, and is killed again and again, at random or at a named [Point]; a
// receiver, which keeps a ledger of every request and survives. What the senders
// have reported through their pipes, the receiver's ledger and the store's own
// log must agree in the end; see [Proof].
//
// The kills are few, unless OUTHOOK_CRASHES says how many on each database:
//
//	OUTHOOK_CRASHES=200 go test -v -run Killed ./crash
package crash

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "modernc.org/sqlite"             // driver "sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/crash/hookdb"
	"github.com/outhook/webhook/sqlstore"
)

// Main runs the program that this process was started as, and ends the process;
// it returns if that is none. TestMain calls it first.
func Main() {
	text := os.Getenv(programVariable)
	if text == "" {
		return
	}
	var p program
	err := json.Unmarshal([]byte(text), &p)
	switch {
	case err != nil:
	case p.Sender != nil:
		err = p.Sender.run()
	case p.Receiver != nil:
		err = p.Receiver.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const programVariable = "OUTHOOK_CRASH_PROGRAM"

// program is what a process is started as: one of these.
type program struct {
	Sender   *Sender   `json:",omitempty"`
	Receiver *Receiver `json:",omitempty"`
}

// Database is where the senders' store is.
type Database struct {
	Driver string // "pgx" or "sqlite"
	DSN    string
}

// Open opens the database and the store in it. The hook, unless nil, sees every
// statement.
func (d Database) Open(hook hookdb.Hook) (db *sql.DB, store *sqlstore.Store, err error) {
	if hook == nil {
		db, err = sql.Open(d.Driver, d.DSN)
	} else {
		db, err = hookdb.Open(d.Driver, d.DSN, hook)
	}
	if err != nil {
		return nil, nil, err
	}
	dialect := sqlstore.PostgreSQL
	if d.Driver == "sqlite" {
		dialect = sqlstore.SQLite
	}
	return db, sqlstore.New(db, dialect), nil
}

// businessTable is the application's own, beside which some events are
// published.
const businessTable = "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY)"

// Kind is how an event is published.
type Kind string

// The kinds of events.
const (
	Plain Kind = "plain" // by Publish
	Batch Kind = "batch" // by PublishBatch, with another
	InTx  Kind = "tx"    // in a transaction that inserts a business row, which commits
	Undo  Kind = "undo"  // in such a transaction that is rolled back
)

// EventID is the ID of an event, which says where it came from.
type EventID struct {
	Generation int // of the sender
	Publisher  int
	Seq        int // counts the events of a publisher
	Kind       Kind
}

func (e EventID) String() string {
	return fmt.Sprintf("%d-%d-%d-%s", e.Generation, e.Publisher, e.Seq, e.Kind)
}

// orderingKey is the same for all events of a publisher.
func (e EventID) orderingKey() string { return fmt.Sprintf("%d-%d", e.Generation, e.Publisher) }

// event is the event of that ID, always the same.
func (e EventID) event() webhook.Event {
	return webhook.Event{
		ID: e.String(), Type: "order." + string(e.Kind), OrderingKey: e.orderingKey(),
		Time: time.Unix(1_700_000_000, 0), Data: map[string]string{"order": e.String()},
	}
}

// ParseEventID is the reverse of EventID.String.
func ParseEventID(id string) (e EventID, err error) {
	parts := strings.Split(id, "-")
	if len(parts) != 4 {
		return e, fmt.Errorf("event ID %q is none of ours", id)
	}
	for n, field := range []*int{&e.Generation, &e.Publisher, &e.Seq} {
		if *field, err = strconv.Atoi(parts[n]); err != nil {
			return e, fmt.Errorf("event ID %q is none of ours", id)
		}
	}
	e.Kind = Kind(parts[3])
	return e, nil
}

// The endpoints, by ID, which is their path at the receiver too.
const (
	endpointAll     = "all"
	endpointFlaky   = "flaky"   // the first request for some events fails
	endpointOrdered = "ordered" // so here; strict order of each publisher's events
	endpointInTx    = "tx"      // events of kind InTx and no others
)

// endpoints returns the endpoints, at a receiver's URL.
func endpoints(url string) []webhook.Endpoint {
	return []webhook.Endpoint{
		{ID: endpointAll, URL: url + "/" + endpointAll},
		{ID: endpointFlaky, URL: url + "/" + endpointFlaky, Events: []string{"order.*"}},
		{ID: endpointOrdered, URL: url + "/" + endpointOrdered, Ordered: true},
		{ID: endpointInTx, URL: url + "/" + endpointInTx, Events: []string{"order." + string(InTx)}},
	}
}

// endpointsOf returns the IDs of the endpoints that an event must reach.
func endpointsOf(e EventID) []string {
	ids := []string{endpointAll, endpointFlaky, endpointOrdered}
	if e.Kind == InTx {
		ids = append(ids, endpointInTx)
	}
	return ids
}
