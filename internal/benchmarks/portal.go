package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/portal/seeded"
	"github.com/outhook/webhook/portal"
)

// asks is how often each page is asked for in a round.
const asks = 20

// pages asks for each page of the portal, and for its lists with each filter, on a
// PostgreSQL database that has a long log, half of it one endpoint's.
func pages(ctx context.Context, s size, d *databases) (_ []figure, err error) {
	if d.server == nil {
		return nil, nil
	}
	store, err := d.openPostgreSQL(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	if err := seeded.Fill(ctx, store.db, s.logged); err != nil {
		return nil, err
	}
	dispatcher, err := webhook.NewDispatcher(store, seeded.Config())
	if err != nil {
		return nil, err
	}
	handler, err := portal.New(dispatcher, portal.Options{Access: func(r *http.Request) (portal.Access, error) {
		return portal.Access{Tenant: seeded.Tenant, Operator: r.Header.Get("X-Operator") != "", Actor: "ada"}, nil
	}})
	if err != nil {
		return nil, err
	}
	server := httptest.NewServer(http.StripPrefix("/webhooks", handler))
	defer server.Close()
	requests := seeded.Requests(s.logged)
	figures := make([]figure, len(requests))
	for round := range s.rounds + 1 {
		for n, request := range requests {
			p95, err := ask(ctx, server.Client(), server.URL+"/webhooks/"+request.Path, request.Operator)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", request.Name, err)
			}
			if round == 0 {
				continue // its plans are made, and its rows read from the disk
			}
			f := &figures[n]
			f.name, f.unit, f.bound = request.Name+", p95", "ms", bound{atMost, 100}
			f.rounds = append(f.rounds, p95)
		}
	}
	return figures, nil
}

// ask asks for a page again and again and returns the 95th percentile of how long
// that takes, in milliseconds.
func ask(ctx context.Context, client *http.Client, url string, operator bool) (float64, error) {
	var took []float64
	for range asks {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		if operator {
			r.Header.Set("X-Operator", "yes")
		}
		start := time.Now()
		res, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		err = errors.Join(err, res.Body.Close())
		if err == nil && res.StatusCode != http.StatusOK {
			err = errors.New(res.Status)
		}
		if err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(start))/float64(time.Millisecond))
	}
	slices.Sort(took)
	return took[(len(took)*95+99)/100-1], nil
}
