package integration

import (
	"testing"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
	"github.com/outhook/webhook/storetest"
)

func TestStoresKeepThePromises(t *testing.T) {
	forEach(t, append(everywhere(), unusual()...), func(t *testing.T, b backend) {
		t.Parallel() // most of the time is the disk's
		next := b.databases(t)
		storetest.Run(t, func(t *testing.T) webhook.Store { return b.store(t, next(t)) })
	})
}

// ownClock hides the SetClock of a store.
type ownClock struct{ *sqlstore.Store }

// SetClock is not the method that the suite looks for.
func (ownClock) SetClock() {}

func TestStoresKeepThePromisesOnTheirOwnClocks(t *testing.T) {
	forEach(t, []backend{postgreSQL()[0], sqlite()[0]}, func(t *testing.T, b backend) {
		next := b.databases(t)
		storetest.Run(t, func(t *testing.T) webhook.Store { return ownClock{b.store(t, next(t))} })
	})
}

func TestStoresKeepThePromisesBesideOthersInOneDatabase(t *testing.T) {
	for prefix, b := range map[string]backend{"webhooks.": postgreSQL()[0], "app_": sqlite()[0]} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			next := b.databases(t)
			storetest.Run(t, func(t *testing.T) webhook.Store {
				dsn := next(t)
				other := b.newApp(t, dsn)
				other.register(t, t.Context(), nowhere)
				other.publish(t, t.Context(), "event")
				return b.store(t, dsn, sqlstore.TablePrefix(prefix))
			})
		})
	}
}
