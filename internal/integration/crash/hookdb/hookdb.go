// Package hookdb opens databases whose statements a test can see, fail, or stop
// at: a database/sql driver around another one.
package hookdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"strings"
)

// Hook is called before each statement of a connection, with its context and
// text; "BEGIN", "COMMIT" and "ROLLBACK" stand for those of a transaction that
// database/sql manages. What is prepared first is not seen.
//
// If it returns an error, the statement is not executed and fails with that
// error. If it returns a function, that is called when the statement has been
// executed and read, but is not committed yet: a statement outside a transaction
// gets one of its own for that. An error of the function undoes the statement,
// which fails with it; after a COMMIT it is reported all the same.
//
// As in PostgreSQL, a transaction in which a statement has failed so can only be
// rolled back.
type Hook func(ctx context.Context, query string) (executed func() error, err error)

// Open opens a database of a registered driver, see [sql.Open].
func Open(driverName, dsn string, hook Hook) (*sql.DB, error) {
	db, err := sql.Open(driverName, dsn)
	if err != nil {
		return nil, err
	}
	d := db.Driver()
	if err := db.Close(); err != nil {
		return nil, err
	}
	c := connector{driver: d, dsn: dsn, hook: hook}
	if d, ok := d.(driver.DriverContext); ok {
		if c.inner, err = d.OpenConnector(dsn); err != nil {
			return nil, err
		}
	}
	return sql.OpenDB(c), nil
}

// Failure is an error as a server for PostgreSQL reports it.
type Failure struct{ State string }

func (f *Failure) Error() string { return "injected failure (SQLSTATE " + f.State + ")" }

// SQLState is what the drivers for PostgreSQL have in common.
func (f *Failure) SQLState() string { return f.State }

type connector struct {
	inner  driver.Connector // nil where the driver has none
	driver driver.Driver
	dsn    string
	hook   Hook
}

func (c connector) Driver() driver.Driver { return c.driver }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	var inner driver.Conn
	var err error
	if c.inner != nil {
		inner, err = c.inner.Connect(ctx)
	} else {
		inner, err = c.driver.Open(c.dsn)
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, hook: c.hook}, nil
}

// conn is a connection. Like any of database/sql, it is used by one goroutine at
// a time.
type conn struct {
	driver.Conn
	hook    Hook
	within  bool // a transaction
	aborted bool // which can only be rolled back
}

// inFailedTransaction is the SQLSTATE of that name.
const inFailedTransaction = "25P02"

// before calls the hook before a statement.
func (c *conn) before(ctx context.Context, query string) (executed func() error, err error) {
	if c.aborted && !isRollback(query) {
		return nil, &Failure{inFailedTransaction}
	}
	executed, err = c.hook(ctx, query)
	c.aborted = (c.aborted || err != nil && c.within) && !isRollback(query)
	return executed, err
}

// note follows what a statement that was executed did to the transaction.
func (c *conn) note(query string) {
	switch verb, rest, _ := strings.Cut(query, " "); {
	case strings.HasPrefix(rest, "TO "):
	case verb == "BEGIN":
		c.within = true
	case verb == "COMMIT", verb == "ROLLBACK":
		c.within = false
	}
}

func isRollback(query string) bool { return strings.HasPrefix(query, "ROLLBACK") }

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	inner, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	executed, err := c.before(ctx, query)
	if err != nil {
		return nil, err
	}
	if executed == nil {
		rows, err := inner.QueryContext(ctx, query, args)
		if err == nil {
			c.note(query)
		}
		return rows, err
	}
	var read *rows
	err = c.stopping(ctx, query, executed, func() error {
		r, err := inner.QueryContext(ctx, query, args)
		if err != nil {
			return err
		}
		read, err = readAll(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return read, nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	inner, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	executed, err := c.before(ctx, query)
	if err != nil {
		return nil, err
	}
	if executed == nil {
		if result, err = inner.ExecContext(ctx, query, args); err == nil {
			c.note(query)
		}
		return result, err
	}
	err = c.stopping(ctx, query, executed, func() (err error) {
		result, err = inner.ExecContext(ctx, query, args)
		return err
	})
	return result, err
}

// stopping executes a statement, in a transaction, and calls executed before
// that is committed.
func (c *conn) stopping(ctx context.Context, query string, executed, execute func() error) error {
	var tx driver.Tx
	if begin, ok := c.Conn.(driver.ConnBeginTx); ok && !c.within {
		var err error
		if tx, err = begin.BeginTx(ctx, driver.TxOptions{}); err != nil {
			return err
		}
	}
	err := execute()
	if err == nil {
		c.note(query)
		err = executed()
		c.aborted = err != nil && c.within
	}
	switch {
	case tx == nil:
		return err
	case err != nil:
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	inner, ok := c.Conn.(driver.ConnBeginTx)
	if !ok {
		return nil, errors.New("hookdb: the driver has no BeginTx")
	}
	if _, err := c.before(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	t, err := inner.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	c.within = true
	return &tx{Tx: t, conn: c, ctx: ctx}, nil
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if inner, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return inner.PrepareContext(ctx, query)
	}
	return c.Prepare(query)
}

// CheckNamedValue implements driver.NamedValueChecker.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := c.Conn.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// ResetSession implements driver.SessionResetter.
func (c *conn) ResetSession(ctx context.Context) error {
	if inner, ok := c.Conn.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool {
	inner, ok := c.Conn.(driver.Validator)
	return !ok || inner.IsValid()
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	if inner, ok := c.Conn.(driver.Pinger); ok {
		return inner.Ping(ctx)
	}
	return nil
}

type tx struct {
	driver.Tx
	conn *conn
	ctx  context.Context
}

func (t *tx) Commit() error {
	executed, err := t.conn.before(t.ctx, "COMMIT")
	t.conn.within, t.conn.aborted = false, false
	if err != nil {
		return errors.Join(err, t.Tx.Rollback())
	}
	if err := t.Tx.Commit(); err != nil {
		return err
	}
	if executed != nil {
		return executed()
	}
	return nil
}

func (t *tx) Rollback() error {
	t.conn.within, t.conn.aborted = false, false
	return t.Tx.Rollback()
}

// rows are rows that were read already.
type rows struct {
	columns []string
	values  [][]driver.Value
}

func readAll(r driver.Rows) (read *rows, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	read = &rows{columns: slices.Clone(r.Columns())}
	for {
		row := make([]driver.Value, len(read.columns))
		switch err := r.Next(row); err {
		case nil:
		case io.EOF:
			return read, nil
		default:
			return nil, err
		}
		for n, v := range row {
			if b, ok := v.([]byte); ok {
				row[n] = slices.Clone(b)
			}
		}
		read.values = append(read.values, row)
	}
}

func (r *rows) Columns() []string { return r.columns }
func (r *rows) Close() error      { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if len(r.values) == 0 {
		return io.EOF
	}
	copy(dest, r.values[0])
	r.values = r.values[1:]
	return nil
}
