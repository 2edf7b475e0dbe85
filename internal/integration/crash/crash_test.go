package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

func TestMain(m *testing.M) {
	Main()
	goleak.VerifyTestMain(m)
}

// The sender is killed OUTHOOK_CRASHES times on each database, half of these at
// the named points in turn. In the second half of the time, another process
// delivers beside it and lives on.
func TestNothingIsLostWhenTheProcessIsKilled(t *testing.T) {
	crashes := 12
	if text := os.Getenv("OUTHOOK_CRASHES"); text != "" {
		var err error
		if crashes, err = strconv.Atoi(text); err != nil || crashes < 2*len(Points) {
			t.Fatalf("OUTHOOK_CRASHES=%s is no number of at least %d", text, 2*len(Points))
		}
	}
	onEachDatabase(t, func(t *testing.T, database Database) {
		w := newWorld(t, database)
		s := Sender{Database: database, Lease: lease, Timeout: timeout, Concurrency: concurrency}
		var other *senderProcess
		for n := range crashes {
			if n == crashes/2 {
				s.Generation = crashes
				other = w.start(t, s)
			}
			victim := s
			victim.Generation, victim.Publishers = n, 4
			if n%2 == 0 {
				victim.Point, victim.Pass = Points[n/2%len(Points)], 1+rand.IntN(20)
			}
			w.crash(t, victim)
		}
		if err := other.stop(); err != nil {
			t.Error(err)
		}
		w.drain(t, s)
		figures := w.check(t)
		for _, point := range Points {
			if w.proof.hits[point] == 0 {
				t.Errorf("no process was killed at the point %q", point)
			}
		}
		// What one kill can repeat is what is in flight and what waits for its
		// settle.
		if limit := 6 * concurrency; figures.MostAtKill > limit {
			t.Errorf("a kill explains at most %d repeated requests, not %d", limit, figures.MostAtKill)
		}
		t.Logf("%d kills: %s; %+v", crashes, w.proof.kills(), figures)
	})
}

// Of the senders. What a killed one has claimed is to be taken over soon.
const (
	concurrency = 16
	timeout     = time.Second
	lease       = timeout + timeout/2
)

// onEachDatabase runs the test on an empty database of each kind.
func onEachDatabase(t *testing.T, test func(*testing.T, Database)) {
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, Database{Driver: "pgx", DSN: pg.ForTest(t).Database(t)})
	})
	t.Run("SQLite", func(t *testing.T) {
		test(t, Database{Driver: "sqlite", DSN: sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "webhooks.db"))})
	})
}

// world is what the senders of a test share.
type world struct {
	database Database
	ledger   string
	proof    *Proof
}

// newWorld migrates the database, starts a receiver and registers the endpoints.
func newWorld(t *testing.T, database Database) *world {
	w := &world{database: database, ledger: filepath.Join(t.TempDir(), "ledger"), proof: NewProof(lease)}
	url := make(chan string, 1)
	receiver, err := start(program{Receiver: &Receiver{Ledger: w.ledger}}, func(words []string) { url <- words[0] })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := receiver.stop(); err != nil {
			t.Error("receiver:", err)
		}
	})
	setUp(t, database, <-url)
	return w
}

// setUp migrates the database and registers the endpoints.
func setUp(t *testing.T, database Database, url string) {
	db, store, err := database.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), businessTable); err != nil {
		t.Fatal(err)
	}
	d, err := webhook.NewDispatcher(store, (&Sender{Lease: lease, Timeout: timeout, Concurrency: 1}).config())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints(url) {
		if _, err := d.Register(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// crash lets a sender run until it kills itself or, at a random moment, is killed.
func (w *world) crash(t *testing.T, s Sender) {
	t.Helper()
	p := w.start(t, s)
	after := time.Duration(rand.IntN(1000)) * time.Millisecond
	if s.Point != "" {
		after = 20 * time.Second
	}
	select {
	case <-p.ended:
	case <-time.After(after):
		p.signal(syscall.SIGKILL)
		<-p.ended
	}
	if !p.killed() || p.stderr.Len() > 0 {
		t.Fatalf("generation %d: %v", s.Generation, p.failure())
	}
	var at Point
	select {
	case at = <-p.killing:
	default:
	}
	w.proof.noteKill(s.Generation, at)
}

// start starts a sender.
func (w *world) start(t *testing.T, s Sender) *senderProcess {
	t.Helper()
	p, err := w.proof.start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.ended
	})
	return p
}

// drain lets a last sender, after s and like it, deliver what is left.
func (w *world) drain(t *testing.T, s Sender) {
	t.Helper()
	s.Generation++
	s.Publishers, s.Drain = 0, true
	p := w.start(t, s)
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute):
		t.Error("there are deliveries pending for ever")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}

// check checks the proof.
func (w *world) check(t *testing.T) Figures {
	t.Helper()
	receipts, err := readLedger(w.ledger)
	if err != nil {
		t.Fatal(err)
	}
	db, store, err := w.database.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	figures, err := w.proof.check(context.Background(), db, store, receipts)
	if err != nil {
		t.Error(err)
	}
	return figures
}

// kills says how many were at which point.
func (p *Proof) kills() (text string) {
	text = fmt.Sprintf("%d at random moments", p.hits[""])
	for _, point := range Points {
		text += fmt.Sprintf(", %d %s", p.hits[point], point)
	}
	return text
}
