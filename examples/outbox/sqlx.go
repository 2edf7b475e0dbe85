package outbox

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// SQLX publishes in transactions of sqlx, which have a *sql.Tx in their field Tx.
type SQLX struct {
	DB         *sqlx.DB
	Store      *sqlstore.Store // on DB.DB, or another handle on the same database
	Dispatcher *webhook.Dispatcher
}

// Complete completes a document, for one credit of the account.
func (s *SQLX) Complete(ctx context.Context, id, account string) error {
	tx, err := s.DB.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // unless it is committed

	var document Document
	if err := tx.GetContext(ctx, &document, "UPDATE documents SET completed = true WHERE id = $1 RETURNING *", id); err != nil {
		return err
	}
	event := webhook.Event{Type: "document.completed", Data: document}
	if _, err := s.Dispatcher.Publish(s.Store.WithTx(ctx, tx.Tx), event); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET credit = credit - 1 WHERE name = $1", account); err != nil {
		return err // none is left: nothing was completed, nothing published
	}
	return tx.Commit()
}
