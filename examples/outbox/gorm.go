package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// GORM publishes in transactions of GORM, which have a *sql.Tx inside.
type GORM struct {
	DB         *gorm.DB
	Store      *sqlstore.Store // on what DB.DB returns, or another handle on the same database
	Dispatcher *webhook.Dispatcher
}

// Complete completes a document, for one credit of the account.
func (g *GORM) Complete(ctx context.Context, id, account string) error {
	return g.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		document := Document{ID: id}
		if err := tx.Model(&document).Update("completed", true).Error; err != nil {
			return err
		}
		sqlTx, err := inside(tx)
		if err != nil {
			return err
		}
		event := webhook.Event{Type: "document.completed", Data: document}
		if _, err := g.Dispatcher.Publish(g.Store.WithTx(ctx, sqlTx), event); err != nil {
			return err
		}
		// An error rolls back: nothing was completed then, nothing published.
		return tx.Model(&Account{Name: account}).Update("credit", gorm.Expr("credit - 1")).Error
	})
}

// inside returns the transaction that GORM works in, also where it prepares
// statements (gorm.Config.PrepareStmt).
func inside(db *gorm.DB) (*sql.Tx, error) {
	pool := db.Statement.ConnPool
	if prepared, ok := pool.(*gorm.PreparedStmtTX); ok {
		pool = prepared.Tx
	}
	tx, ok := pool.(*sql.Tx)
	if !ok {
		return nil, fmt.Errorf("%T is not a transaction of database/sql", pool)
	}
	return tx, nil
}
