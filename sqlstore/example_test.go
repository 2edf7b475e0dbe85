package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN("webhooks.db")) // of modernc.org/sqlite
	if err != nil {
		log.Fatal(err)
	}
	store := sqlstore.New(db, sqlstore.SQLite)
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	dispatcher, err := webhook.NewDispatcher(store, webhook.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := dispatcher.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// The event and the change that it tells of are committed together or not at
// all.
func ExampleStore_WithTx() {
	var (
		ctx        context.Context
		db         *sql.DB
		store      *sqlstore.Store
		dispatcher *webhook.Dispatcher
	)
	sign := func(id int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "UPDATE documents SET signed = true WHERE id = $1", id); err != nil {
			return err
		}
		event := webhook.Event{Type: "document.signed", Data: map[string]any{"id": id}}
		if _, err := dispatcher.Publish(store.WithTx(ctx, tx), event); err != nil {
			return err
		}
		return tx.Commit()
	}
	_ = sign
}

func ExampleMigrations() {
	migrations, err := sqlstore.Migrations(sqlstore.PostgreSQL, sqlstore.TablePrefix("webhooks."))
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range migrations {
		fmt.Println(m.Name)
	}
	// Output:
	// 0001_tables
	// 0002_functions
}
