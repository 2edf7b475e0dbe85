// Package outbox publishes events in the transactions of an application, with
// each of the libraries by which it may hold one: [SQL], [SQLX], [GORM] and [PGX].
// All do the same, and each is complete, to be copied.
//
// The event is one more thing that the transaction writes. If that commits, the
// event is delivered; if anything fails, before or after Publish, there has never
// been an event.
package outbox

// Schema is the application's own tables. Those of the events are created by the
// Migrate method of the store, in the same database.
const Schema = `
	CREATE TABLE accounts (name text PRIMARY KEY, credit integer NOT NULL CHECK (credit >= 0));
	CREATE TABLE documents (id text PRIMARY KEY, completed boolean NOT NULL)`

// Document is a row of documents, and what receivers are told.
type Document struct {
	ID        string `json:"id"`
	Completed bool   `json:"completed"`
}

// Account is a row of accounts.
type Account struct {
	Name   string `gorm:"primaryKey"`
	Credit int
}
