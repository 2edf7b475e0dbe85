package outbox

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// PGX publishes in transactions of pgx, without database/sql in between.
type PGX struct {
	Pool       *pgxpool.Pool
	Store      *sqlstore.Store // on stdlib.OpenDBFromPool(Pool), say
	Dispatcher *webhook.Dispatcher
}

// Complete completes a document, for one credit of the account.
func (p *PGX) Complete(ctx context.Context, id, account string) error {
	return pgx.BeginFunc(ctx, p.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE documents SET completed = true WHERE id = $1", id); err != nil {
			return err
		}
		event := webhook.Event{Type: "document.completed", Data: Document{ID: id, Completed: true}}
		if _, err := p.Dispatcher.Publish(p.Store.WithQuerier(ctx, querier{tx}), event); err != nil {
			return err
		}
		// An error rolls back: nothing was completed then, nothing published.
		_, err := tx.Exec(ctx, "UPDATE accounts SET credit = credit - 1 WHERE name = $1", account)
		return err
	})
}

// querier is a pgx.Tx as the store takes it.
type querier struct{ pgx.Tx }

func (q querier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	return q.Tx.Query(ctx, query, args...)
}
