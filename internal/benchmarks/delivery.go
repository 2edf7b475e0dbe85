package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
)

const (
	inFlight  = 64
	bodySize  = 1024
	timeout   = 15 * time.Second // of a request
	eventType = "benchmark.delivered"
	batchSize = 1000 // events in a PublishBatch
)

// delivery compares how fast deliveries that are published already leave, with a
// loop over net/http that signs and posts the same bodies.
func delivery(ctx context.Context, s size, _ *databases) ([]figure, error) {
	one, many := outhook(inMemory, 1, 2*inFlight, inFlight), outhook(inMemory, 64, 2*inFlight, 16)
	contenders := []contender{
		bareLoop("net/http", func() poster { return postWithClient }),
		one,
		many,
		bareLoop("RoundTrip, recording", func() poster { return new(recorder).post }),
	}
	samples, err := measureInTurns(ctx, contenders, s.rounds, s.deliveries)
	if err != nil {
		return nil, err
	}
	if s.cpuProfile != "" {
		if err := profile(ctx, s.cpuProfile, one, 5*s.deliveries); err != nil {
			return nil, err
		}
	}
	var figures []figure
	perSecond := func(sample sample) float64 { return float64(s.deliveries) / sample.elapsed.Seconds() }
	for n, c := range contenders {
		figures = append(figures, figure{name: c.name, unit: "deliveries/s", rounds: each(samples[n], perSecond)})
	}
	bare := samples[0]
	for n, c := range contenders[1:] {
		f := figure{name: c.name + " / net/http", unit: "of its speed", rounds: both(each(samples[n+1], perSecond), each(bare, perSecond), ratio)}
		if n < 2 {
			f.bound = bound{atLeast, 0.80}
		}
		figures = append(figures, f)
	}
	for n, c := range contenders {
		figures = append(figures,
			figure{name: c.name + ": CPU", unit: "µs/delivery", rounds: each(samples[n], microseconds)},
			figure{name: c.name + ": memory", unit: "B/delivery", rounds: each(samples[n], bytesOf)},
			figure{name: c.name + ": allocations", unit: "per delivery", rounds: each(samples[n], allocs)},
		)
	}
	for n, c := range contenders[1:3] {
		figures = append(figures, figure{
			name: c.name + " above net/http", unit: "allocations", bound: bound{atMost, 40},
			rounds: both(each(samples[n+1], allocs), each(bare, allocs), difference),
		})
	}
	return figures, nil
}

// profile writes the CPU profile of one long round.
func profile(ctx context.Context, path string, c contender, n int) error {
	r, err := startReceiver(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	prepare := c.prepare
	c.prepare = func(ctx context.Context, url string, n int) (func(context.Context) error, error) {
		deliver, err := prepare(ctx, url, n)
		return func(stop context.Context) error {
			return profiled(path, func() error { return deliver(stop) })
		}, err
	}
	_, err = c.measure(ctx, r, n)
	return err
}

// profiled calls do and writes its CPU profile to the file, if that has a name.
func profiled(path string, do func() error) error {
	if path == "" {
		return do()
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}

// outhook delivers through a store and a Dispatcher to so many endpoints, each of
// a tenant of its own.
func outhook(k kind, endpoints, concurrency, perEndpoint int) contender {
	name := "Outhook"
	if k.name != inMemory.name {
		name += " on " + k.name
	}
	if endpoints > 1 {
		name += fmt.Sprintf(", %d endpoints", endpoints)
	}
	return contender{name: name, server: k.cpuTime, prepare: func(ctx context.Context, url string, n int) (func(context.Context) error, error) {
		store, err := k.open(ctx)
		if err != nil {
			return nil, err
		}
		d, err := published(ctx, store, url, n, endpoints, concurrency, perEndpoint)
		if err == nil {
			err = store.ready(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, store.close())
		}
		return func(stop context.Context) error {
			err := deliver(ctx, stop, d)
			if err == nil {
				err = store.logged(ctx, n)
			}
			return errors.Join(err, store.close())
		}, nil
	}}
}

// published returns a Dispatcher on whose store n deliveries wait.
func published(ctx context.Context, store webhook.Store, url string, n, endpoints, concurrency, perEndpoint int) (*webhook.Dispatcher, error) {
	d, err := newDispatcher(store, concurrency, perEndpoint)
	if err != nil {
		return nil, err
	}
	tenants := make([]string, endpoints)
	for i := range tenants {
		tenants[i] = fmt.Sprintf("tenant-%d", i)
		if _, err := d.Register(ctx, webhook.Endpoint{URL: url + "/quick", Tenant: tenants[i]}); err != nil {
			return nil, err
		}
	}
	return d, publish(ctx, d, n, tenants)
}

// newDispatcher returns one that may deliver to the receiver.
func newDispatcher(store webhook.Store, concurrency, perEndpoint int) (*webhook.Dispatcher, error) {
	return webhook.NewDispatcher(store, newConfig(concurrency, perEndpoint))
}

func newConfig(concurrency, perEndpoint int) webhook.Config {
	return webhook.Config{
		Profile:             webhook.Profile{Timeout: timeout},
		Network:             webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Concurrency:         concurrency,
		EndpointConcurrency: perEndpoint,
		DrainTimeout:        time.Second,
	}
}

// publish publishes n events, in turn of each tenant.
func publish(ctx context.Context, d *webhook.Dispatcher, n int, tenants []string) error {
	e := benchmarkEvent()
	events := make([]webhook.Event, 0, batchSize)
	for i := range n {
		e.Tenant = tenants[i%len(tenants)]
		events = append(events, e)
		if len(events) < batchSize && i < n-1 {
			continue
		}
		receipts, err := d.PublishBatch(ctx, events)
		if err != nil {
			return err
		}
		for _, r := range receipts {
			if r.Deliveries != 1 {
				return fmt.Errorf("event %s has %d deliveries", r.EventID, r.Deliveries)
			}
		}
		events = events[:0]
	}
	return nil
}

// deliver runs d until stop ends. Nothing but what is stuck may be left then.
func deliver(ctx, stop context.Context, d *webhook.Dispatcher) error {
	if err := d.Run(stop); err != nil {
		return err
	}
	left, err := d.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StatePending, webhook.StateExhausted}, Limit: 1000})
	for _, l := range left.Items {
		if l.Tenant != stuckTenant {
			return fmt.Errorf("a delivery is %s: %s", l.State, l.LastError)
		}
	}
	return err
}

// benchmarkEvent returns the event whose body has bodySize bytes.
func benchmarkEvent() webhook.Event {
	padded := func(padding int) webhook.Event {
		data := json.RawMessage(`{"padding":"` + strings.Repeat("x", padding) + `"}`)
		return webhook.Event{Type: eventType, Time: time.Unix(1_750_000_000, 0), Data: data}
	}
	return padded(bodySize - len(bodyOf(padded(0))))
}

// bodyOf returns what Outhook posts for the event.
func bodyOf(e webhook.Event) []byte {
	body, err := webhook.StandardEnvelope(e)
	if err != nil {
		panic(err) // the data is valid
	}
	return body
}

// request is what the loops post.
type request struct {
	url  string
	id   string
	body []byte
	key  []byte
}

// poster signs and posts one request.
type poster func(context.Context, *http.Client, *request) error

// bareLoop is a loop over a poster, as a program without a queue would have it.
func bareLoop(name string, newPoster func() poster) contender {
	return contender{name: name, prepare: func(ctx context.Context, url string, n int) (func(context.Context) error, error) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(webhook.NewSecret().Value, "whsec_"))
		if err != nil {
			return nil, err
		}
		body := bodyOf(benchmarkEvent())
		requests := make([]request, n)
		for i := range requests {
			requests[i] = request{url + "/quick", uuid.Must(uuid.NewV7()).String(), body, key}
		}
		post := newPoster()
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
		return func(context.Context) error {
			defer client.CloseIdleConnections()
			return forEach(requests, func(r *request) error { return post(ctx, client, r) })
		}, nil
	}}
}

// forEach calls do for each request, inFlight of them at a time, until one fails.
func forEach(requests []request, do func(*request) error) error {
	var wait sync.WaitGroup
	var next atomic.Int64
	errs := make(chan error, inFlight)
	for range inFlight {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(requests)); i = next.Add(1) - 1 {
				if err := do(&requests[i]); err != nil {
					next.Store(int64(len(requests)))
					errs <- err
					return
				}
			}
		})
	}
	wait.Wait()
	close(errs)
	return <-errs
}

func postWithClient(ctx context.Context, client *http.Client, r *request) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := newRequest(ctx, r)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	return checkStatus(res)
}

// newRequest returns the request with its Standard Webhooks signature.
func newRequest(ctx context.Context, r *request) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(r.id + "." + timestamp + "."))
	mac.Write(r.body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Loop/1")
	req.Header.Set("Webhook-Id", r.id)
	req.Header.Set("Webhook-Timestamp", timestamp)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return req, nil
}

func checkStatus(res *http.Response) error {
	if res.StatusCode/100 != 2 {
		return errors.New(res.Status)
	}
	return nil
}

// recorder is a loop that does all that a delivery needs but queueing: it goes
// past http.Client, which follows redirects, and keeps a record of each attempt.
type recorder struct {
	mu       sync.Mutex
	attempts []*webhook.Attempt
}

func (l *recorder) post(ctx context.Context, client *http.Client, r *request) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	req, err := newRequest(ctx, r)
	if err != nil {
		return err
	}
	res, err := client.Transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<10))
	if err != nil {
		return err
	}
	a := &webhook.Attempt{
		ID: uuid.Must(uuid.NewV7()).String(), DeliveryID: r.id, Number: 1,
		StartedAt: start, Duration: time.Since(start), URL: r.url, StatusCode: res.StatusCode,
		RequestHeaders: req.Header, ResponseHeaders: res.Header, BodySHA256: sha256.Sum256(r.body), ResponseBody: body,
	}
	l.mu.Lock()
	l.attempts = append(l.attempts, a)
	l.mu.Unlock()
	return checkStatus(res)
}
