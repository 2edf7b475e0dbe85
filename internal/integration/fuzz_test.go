package integration

import (
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// FuzzCursorsOnSQLite asks each listing of a database to go on behind any cursor:
// it is ErrInvalid, or the rest of what the listing shows, and never an error of
// the database or anything beyond the scope.
func FuzzCursorsOnSQLite(f *testing.F) {
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(filepath.Join(f.TempDir(), "webhooks.db")))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	store := sqlstore.New(db, sqlstore.SQLite)
	if err := store.Migrate(f.Context()); err != nil {
		f.Fatal(err)
	}
	d, err := webhook.NewDispatcher(store, webhook.Config{})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 6 {
		tenant := []string{"a", "b"}[n%2]
		if _, err := d.Register(f.Context(), webhook.Endpoint{ID: strconv.Itoa(n), URL: "https://a.example/", Tenant: tenant}); err != nil {
			f.Fatal(err)
		}
		if _, err := d.Publish(f.Context(), webhook.Event{ID: strconv.Itoa(n), Type: "t", Tenant: tenant}); err != nil {
			f.Fatal(err)
		}
	}
	now := time.Now().UnixMicro()
	for _, s := range []string{"", "0 ", "0 0", "x", strconv.FormatInt(now, 10) + " 2", strconv.FormatInt(now, 10) + " ' OR 1=1 --", "9223372036854775807 0", "-9223372036854775808 0", "253402300799999999 0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6f", "0 \x00", "0 \xff"} {
		f.Add(s, 2, true)
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(s)), 0, false)
	}
	f.Fuzz(func(t *testing.T, cursor string, limit int, all bool) {
		limit %= 2000
		scope := webhook.Scope{Tenant: "a", All: all}
		for _, cursor := range []string{cursor, base64.RawURLEncoding.EncodeToString([]byte(cursor))} {
			goOn(t, "endpoints", cursor, limit, func(cursor string, limit int) (ids []string, next string, err error) {
				page, err := store.ListEndpoints(t.Context(), webhook.EndpointFilter{Scope: scope, Cursor: cursor, Limit: limit})
				for _, e := range page.Items {
					ids = append(ids, e.ID)
				}
				return ids, page.Next, err
			})
			goOn(t, "deliveries", cursor, limit, func(cursor string, limit int) (ids []string, next string, err error) {
				page, err := store.ListDeliveries(t.Context(), webhook.DeliveryFilter{Scope: scope, Cursor: cursor, Limit: limit})
				for _, d := range page.Items {
					ids = append(ids, d.ID)
				}
				return ids, page.Next, err
			})
			goOn(t, "events", cursor, limit, func(cursor string, limit int) (ids []string, next string, err error) {
				page, err := store.ListEvents(t.Context(), webhook.EventFilter{Scope: scope, Cursor: cursor, Limit: limit})
				for _, e := range page.Items {
					ids = append(ids, e.ID)
				}
				return ids, page.Next, err
			})
		}
	})
}

func goOn(t *testing.T, what, cursor string, limit int, list func(cursor string, limit int) (ids []string, next string, err error)) {
	t.Helper()
	whole, next, err := list("", 1000)
	if err != nil || next != "" {
		t.Fatalf("%s: %v, and then %q", what, err, next)
	}
	got, next, err := list(cursor, limit)
	if err != nil {
		if !errors.Is(err, webhook.ErrInvalid) || len(got) > 0 {
			t.Errorf("%s behind %q: %q, %v", what, cursor, got, err)
		}
		return
	}
	for next != "" {
		var more []string
		if more, next, err = list(next, limit); err != nil || len(more) == 0 {
			t.Fatalf("%s behind %q, further on: %q, %v", what, cursor, more, err)
		}
		got = append(got, more...)
	}
	if len(got) > len(whole) || !slices.Equal(got, whole[len(whole)-len(got):]) {
		t.Errorf("%s behind %q: %q, of %q", what, cursor, got, whole)
	}
}

// No cursor is an error of the database: what PostgreSQL knows as a time is less
// than what 64 bits hold.
func TestCursorsOfNobodyAreInvalidOnEveryDatabase(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		store := b.store(t, b.database(t))
		for _, at := range []string{"9223372036854775807", "-9223372036854775808", "-62135596800000000", "-211813488000000001", "253402300800000000"} {
			for _, id := range []string{"e", "0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6f"} {
				cursor := base64.RawURLEncoding.EncodeToString(fmt.Append(nil, at, " ", id))
				_, endpoints := store.ListEndpoints(t.Context(), webhook.EndpointFilter{Cursor: cursor})
				_, deliveries := store.ListDeliveries(t.Context(), webhook.DeliveryFilter{Cursor: cursor})
				_, events := store.ListEvents(t.Context(), webhook.EventFilter{Cursor: cursor})
				for _, err := range []error{endpoints, deliveries, events} {
					if !errors.Is(err, webhook.ErrInvalid) {
						t.Errorf("behind %s %s: %v, want ErrInvalid", at, id, err)
					}
				}
			}
		}
	})
}

func TestSQLiteDSNNamesTheFileThatIsMeant(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		for _, name := range []string{"/plain.db", "//two slashes.db", "/a b?mode=memory&c#d%41;e+f.db", "/é:.db", "/.././/dots.db"} {
			for _, before := range []string{"", "/"} { // a root of "/" before an absolute path
				path := before + t.TempDir() + name
				b.store(t, sqlstore.SQLiteDSN(path))
				if info, err := os.Stat(path); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	})
}
