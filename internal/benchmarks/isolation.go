package main

import (
	"context"
	"errors"

	"github.com/outhook/webhook"
)

// stuckTenant is whose deliveries may be left.
const stuckTenant = "stuck"

// isolation compares how long a quick endpoint takes beside one of another
// tenant that does not answer for seconds, with how long it takes alone.
func isolation(ctx context.Context, s size, d *databases) ([]figure, error) {
	var figures []figure
	for _, k := range append([]kind{inMemory}, d.kinds()...) {
		queued := s.queued
		if k.name != inMemory.name {
			queued = s.stuck
		}
		isolated, err := isolationOf(ctx, k, s, queued)
		if err != nil {
			return nil, err
		}
		figures = append(figures, isolated...)
	}
	return figures, nil
}

// isolationOf measures with one kind of store.
func isolationOf(ctx context.Context, k kind, s size, queued int) (_ []figure, err error) {
	var contenders []contender
	for _, c := range []struct{ name, path string }{{"alone", ""}, {"beside one that is stuck", "/stuck"}, {"beside one that gets stuck", "/turning"}} {
		c, release := beside(k, k.name+": "+c.name, c.path, queued)
		defer func() { err = errors.Join(err, release()) }()
		contenders = append(contenders, c)
	}
	samples, err := measureInTurns(ctx, contenders, s.rounds, s.deliveries)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for n, c := range contenders {
		figures = append(figures, figure{name: c.name, unit: "s", rounds: each(samples[n], seconds)})
	}
	for n, c := range contenders[1:] {
		figures = append(figures, figure{
			name: c.name + " / alone", unit: "of its time", bound: bound{atMost, 1.3},
			rounds: both(each(samples[n+1], seconds), each(samples[0], seconds), ratio),
		})
	}
	return figures, nil
}

// beside delivers to a quick endpoint while events that were published before
// wait for one at that path. There may be so many of these that the store is
// kept for all rounds.
func beside(k kind, name, path string, queued int) (c contender, release func() error) {
	var kept *store
	var d *webhook.Dispatcher
	open := func(ctx context.Context, url string) (err error) {
		if kept, err = k.open(ctx); err != nil {
			return err
		}
		if d, err = newDispatcher(kept, inFlight, inFlight); err != nil {
			return err
		}
		if path != "" {
			if _, err := d.Register(ctx, webhook.Endpoint{URL: url + path, Tenant: stuckTenant, Concurrency: inFlight}); err != nil {
				return err
			}
			if err := publish(ctx, d, queued, []string{stuckTenant}); err != nil {
				return err
			}
		}
		_, err = d.Register(ctx, webhook.Endpoint{URL: url + "/quick", Tenant: "quick"})
		return err
	}
	prepare := func(ctx context.Context, url string, n int) (func(context.Context) error, error) {
		if kept == nil {
			if err := open(ctx, url); err != nil {
				return nil, err
			}
		}
		if err := publish(ctx, d, n, []string{"quick"}); err != nil {
			return nil, err
		}
		if err := kept.ready(ctx); err != nil {
			return nil, err
		}
		return func(stop context.Context) error { return deliver(ctx, stop, d) }, nil
	}
	release = func() error {
		if kept == nil {
			return nil
		}
		return kept.close()
	}
	return contender{name: name, prepare: prepare}, release
}
