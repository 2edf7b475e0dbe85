package main

import (
	"context"
	"slices"
	"strings"
)

// durable compares how fast deliveries leave that a database keeps, with a job
// queue on the same PostgreSQL and with a loop that keeps nothing.
func durable(ctx context.Context, s size, d *databases) ([]figure, error) {
	contenders := []contender{bareLoop("net/http", func() poster { return postWithClient })}
	kinds := slices.DeleteFunc(kindsOf(s, d), func(k kind) bool { return k.name == inMemory.name })
	if slices.ContainsFunc(kinds, func(k kind) bool { return k.cpuTime != nil }) { // PostgreSQL is among them
		contenders = append(contenders, riverQueue(d, false), riverQueue(d, true))
	}
	for _, k := range kinds {
		// As many requests in flight as River has, also to one endpoint, which
		// gets half of what there is.
		contenders = append(contenders, outhook(k, 1, 2*riverWorkers, riverWorkers), outhook(k, 64, riverWorkers, 16))
	}
	samples, err := measureInTurns(ctx, contenders, s.rounds, s.backlog)
	if err != nil {
		return nil, err
	}
	if s.cpuProfile != "" {
		names := strings.NewReplacer(", ", "-", " ", "-")
		for _, c := range contenders[1:] {
			if err := profile(ctx, s.cpuProfile+"-"+names.Replace(c.name), c, 2*s.backlog); err != nil {
				return nil, err
			}
		}
	}
	perSecond := func(sample sample) float64 { return float64(s.backlog) / sample.elapsed.Seconds() }
	var figures []figure
	rates := make(map[string][]float64)
	for n, c := range contenders {
		rates[c.name] = each(samples[n], perSecond)
		figures = append(figures, figure{name: c.name, unit: "deliveries/s", rounds: rates[c.name]})
	}
	for _, c := range []struct {
		name, to string
		want     bound
	}{
		// Both with a record of every attempt; what logging costs River is seen
		// beside.
		{"Outhook on PostgreSQL", "River, attempts logged", bound{atLeast, 1.6}},
		{"Outhook on PostgreSQL, 64 endpoints", "River, attempts logged", bound{atLeast, 1.6}},
		{"Outhook on PostgreSQL", "River", bound{}},
		{"Outhook on SQLite", "net/http", bound{atLeast, 0.40}},
		{"Outhook on SQLite, 64 endpoints", "net/http", bound{atLeast, 0.40}},
	} {
		if rates[c.name] != nil {
			figures = append(figures, figure{
				name: c.name + " / " + c.to, unit: "of its speed", bound: c.want,
				rounds: both(rates[c.name], rates[c.to], ratio),
			})
		}
	}
	for n, c := range contenders {
		figures = append(figures, figure{name: c.name + ": CPU of the sender", unit: "µs/delivery", rounds: each(samples[n], microseconds)})
		if c.server != nil {
			figures = append(figures, figure{name: c.name + ": CPU of PostgreSQL", unit: "µs/delivery", rounds: each(samples[n], serverTime)})
		}
	}
	return figures, nil
}
