// Package storetest is the conformance suite of [webhook.Store]. A store that
// passes keeps every promise that package webhook's documentation makes in its
// name, and a dispatcher may rely on it.
//
// A test of a store is one call:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) webhook.Store {
//			db := openEmptyDatabase(t) // closed by t.Cleanup
//			return mystore.New(db)
//		})
//	}
//
// Each promise is a subtest, so that one of them runs alone with
//
//	go test -run 'TestStore/stale-settlement'
//
// and every failure begins with the promise in words:
//
//	broken promise: a settlement under an old lease is stale and leaves no trace: …
//
// # Time
//
// Leases, delays and pauses need time to pass. If the store, or one along its
// chain of Unwrap methods, has
//
//	SetClock(now func() time.Time)
//
// the suite keeps its time, and the suite takes as long as its calls do. A store
// on a clock of its own, such as a database's, is given short leases and asked
// until they have run out; its clock need not agree with that of the process.
// Times may be rounded to the microsecond, no further.
//
// # Optional interfaces
//
// [webhook.Waker], [webhook.Purger], [webhook.OrderedQueue], [webhook.Presence] and
// [webhook.Summarizer] are looked for along the same chain. The subtests of one that is missing are skipped.
package storetest

import (
	"context"
	"slices"
	"testing"

	"github.com/outhook/webhook"
)

// Run tests the store that open returns, a fresh and empty one for every call.
// Each promise is a subtest with a store of its own, closed through the
// t.Cleanup of the t that open is given. The subtests run one after the other,
// so that all stores may lie in one database that open empties.
func Run(t *testing.T, open func(t *testing.T) webhook.Store) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			c.try(t, open(t))
		})
	}
}

// check tests one promise.
type check struct {
	name    string // of the subtest
	promise string // in words: the beginning of every failure
	run     func(t *trial)
}

func checks() []check {
	return slices.Concat(
		endpointChecks(), fanOutChecks(), enqueueChecks(), claimChecks(), turnChecks(), orderedChecks(),
		settleChecks(), healthChecks(), attemptChecks(), logChecks(), cursorChecks(), storeChecks(), purgeChecks(), presenceChecks(), statisticsChecks(),
	)
}

// try runs the check on an empty store.
func (c *check) try(t tester, store webhook.Store) {
	c.run(newTrial(t, c.promise, store))
}

// tester is what the suite needs of a *testing.T.
type tester interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}
