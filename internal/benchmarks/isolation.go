package main

import (
	"context"

	"github.com/outhook/webhook"
)

// stuckTenant is whose deliveries may be left.
const stuckTenant = "stuck"

// isolation compares how long a quick endpoint takes beside one of another
// tenant that does not answer for seconds, with how long it takes alone.
func isolation(ctx context.Context, s size) ([]figure, error) {
	contenders := []contender{
		beside("alone", "", 0),
		beside("beside one that is stuck", "/stuck", s.queued),
		beside("beside one that gets stuck", "/turning", s.queued),
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
// wait for one at that path.
func beside(name, path string, queued int) contender {
	return contender{name, func(ctx context.Context, url string, n int) (func(context.Context) error, error) {
		d, err := newDispatcher(inFlight, inFlight)
		if err != nil {
			return nil, err
		}
		if path != "" {
			if _, err := d.Register(ctx, webhook.Endpoint{URL: url + path, Tenant: stuckTenant, Concurrency: inFlight}); err != nil {
				return nil, err
			}
			if err := publish(ctx, d, queued, []string{stuckTenant}); err != nil {
				return nil, err
			}
		}
		if _, err := d.Register(ctx, webhook.Endpoint{URL: url + "/quick", Tenant: "quick"}); err != nil {
			return nil, err
		}
		if err := publish(ctx, d, n, []string{"quick"}); err != nil {
			return nil, err
		}
		return running(ctx, d), nil
	}}
}
