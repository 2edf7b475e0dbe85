package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// history fills an empty store with the calls of the last day, so that there is
// something to look at: it delivers in earnest, but by a clock of its own. No
// application needs this.
func (a *application) history(ctx context.Context, store *sqlstore.Store) (err error) {
	if page, err := a.Deliveries(ctx, webhook.DeliveryFilter{Limit: 1}); err != nil || len(page.Items) > 0 {
		return err
	}
	a.behind.Store(int64(24 * time.Hour))
	store.SetClock(a.now)
	defer store.SetClock(time.Now)
	defer a.behind.Store(0)

	past, err := webhook.NewDispatcher(store, config())
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	drained := make(chan error, 1)
	go func() { drained <- past.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-drained)
	}()
	random := rand.New(rand.NewPCG(4, 2)) // the same day each time
	for time.Duration(a.behind.Load()) > 10*time.Minute && ctx.Err() == nil {
		// Some events follow each other closely, so that retries are in time.
		for range 1 + random.IntN(4) {
			if _, err := past.Publish(ctx, anyEvent(random.IntN)); err != nil {
				return err
			}
			// As long as the receivers of a demonstration need.
			select {
			case <-time.After(12 * time.Millisecond):
			case <-ctx.Done():
			}
			a.behind.Add(-int64(6 * time.Second))
		}
		a.behind.Add(-int64(time.Duration(random.IntN(int(14 * time.Minute)))))
	}
	return nil
}
