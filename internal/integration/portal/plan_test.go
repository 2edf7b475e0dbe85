package portal

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // "pgx"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/internal/integration/portal/seeded"
	"github.com/outhook/webhook/portal"
	"github.com/outhook/webhook/sqlstore"
)

// querier hands what the store asks for to a transaction.
type querier struct{ pgx.Tx }

func (q querier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	return q.Tx.Query(ctx, query, args...)
}

// Every page, and every list with each filter, is read from indexes: no statement
// behind it reads a table as a whole, or sorts it, or reads more rows than a page
// is made of, though the log has many. The API's lists of all endpoints alone read
// all that is pending. So it is with the plan for what is asked for
// and with the one for any parameters, to which PostgreSQL changes over once a
// connection has run a statement five times.
func TestPagesAreReadFromIndexesHoweverLongTheLog(t *testing.T) {
	const logged = 60_000 // of which half are those of one endpoint
	dsn := pg.ForTest(t).Database(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store := sqlstore.New(db, sqlstore.PostgreSQL)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := seeded.Fill(t.Context(), db, logged); err != nil {
		t.Fatal(err)
	}
	d, err := webhook.NewDispatcher(store, seeded.Config())
	if err != nil {
		t.Fatal(err)
	}
	var access portal.Access
	handler, err := portal.New(d, portal.Options{Access: func(*http.Request) (portal.Access, error) { return access, nil }})
	if err != nil {
		t.Fatal(err)
	}
	x := pg.Explain(t, dsn)
	whole := regexp.MustCompile(`(?m)Seq Scan on outhook_(finished|events|attempts)`) // all that is pending is one endpoint's
	for _, mode := range []string{"custom", "generic"} {
		if _, err := x.Tx.Exec(t.Context(), "SET plan_cache_mode = force_"+mode+"_plan"); err != nil {
			t.Fatal(err)
		}
		for _, request := range seeded.Requests(logged) {
			t.Run(request.Name+", "+mode+" plan", func(t *testing.T) {
				access = portal.Access{Tenant: seeded.Tenant, Operator: request.Operator, Actor: "ada"}
				plans := x.Plans(func() {
					r := httptest.NewRequestWithContext(store.WithQuerier(t.Context(), querier{x.Tx}), http.MethodGet, "/"+request.Path, nil)
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					if w.Code != http.StatusOK {
						t.Errorf("status %d", w.Code)
					}
				})
				if len(plans) == 0 && !strings.Contains(request.Name, "new webhook") {
					t.Error("the plans are not known")
				}
				for _, plan := range plans {
					if whole.MatchString(plan) {
						t.Errorf("a table is read as a whole:\n%.6000s", plan)
					}
					// Statistics read the beginnings of slices of time; see there.
					most := 2500
					if strings.Contains(plan, "cells") {
						most = 20_000
					}
					if n := pg.RowsOf(plan); n > max(most, request.Rows) {
						t.Errorf("%d rows are read:\n%.6000s", n, plan)
					}
				}
			})
		}
	}
}
