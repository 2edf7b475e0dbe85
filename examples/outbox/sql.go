package outbox

import (
	"context"
	"database/sql"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// SQL publishes in transactions of database/sql, which serve as they are.
type SQL struct {
	DB         *sql.DB
	Store      *sqlstore.Store // on DB, or another handle on the same database
	Dispatcher *webhook.Dispatcher
}

// Complete completes a document, for one credit of the account.
func (s *SQL) Complete(ctx context.Context, id, account string) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // unless it is committed

	if _, err := tx.ExecContext(ctx, "UPDATE documents SET completed = true WHERE id = $1", id); err != nil {
		return err
	}
	event := webhook.Event{Type: "document.completed", Data: Document{ID: id, Completed: true}}
	if _, err := s.Dispatcher.Publish(s.Store.WithTx(ctx, tx), event); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET credit = credit - 1 WHERE name = $1", account); err != nil {
		return err // none is left: nothing was completed, nothing published
	}
	return tx.Commit()
}
