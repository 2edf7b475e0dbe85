package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

func TestAPercentileIsAValueThatOccurred(t *testing.T) {
	hundred := make([]float64, 100)
	for n := range hundred {
		hundred[n] = float64(100 - n)
	}
	for _, test := range []struct {
		values  []float64
		percent int
		want    float64
	}{
		{[]float64{7}, 99, 7},
		{hundred, 99, 99},
		{hundred, 50, 50},
		{hundred[:51], 50, 75}, // 50 to 100
		{append([]float64{0}, hundred...), 99, 99},
	} {
		if got := percentile(test.values, test.percent); got != test.want {
			t.Errorf("percentile %d of %d values: %v, want %v", test.percent, len(test.values), got, test.want)
		}
	}
}

func TestATenthOfTheMixIsNotHealthy(t *testing.T) {
	paths := make(map[string]int)
	for n := range 1000 {
		paths[mixPath(n)]++
		if isHealthy(n) != (mixPath(n) == "/quick") {
			t.Errorf("endpoint %d is healthy: %v, at %s", n, isHealthy(n), mixPath(n))
		}
	}
	want := map[string]int{"/hanging": 10, "/failing": 40, "/slow": 50, "/quick": 900}
	if fmt.Sprint(paths) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", paths, want)
	}
}

// slowestFirst is a Store that takes the first event after all others.
type slowestFirst struct {
	webhook.Store
	mu   sync.Mutex
	came bool
	left int           // of the others
	done chan struct{} // closed when the others are taken
}

func (s *slowestFirst) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	s.mu.Lock()
	first := !s.came
	s.came = true
	s.mu.Unlock()
	if first {
		select {
		case <-s.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return s.Store.Enqueue(ctx, ps)
	}
	taken, err := s.Store.Enqueue(ctx, ps)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		close(s.done)
	}
	return taken, err
}

func TestAPublishThatTakesLongHoldsUpNoneAfterIt(t *testing.T) {
	const events, rate = 20, 2000
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	store := &slowestFirst{Store: webhook.NewMemoryStore(), left: events - 1, done: make(chan struct{})}
	d, err := newDispatcher(store, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Register(ctx, webhook.Endpoint{URL: "http://127.0.0.1:1024", AllTenants: true}); err != nil {
		t.Fatal(err)
	}
	p, err := publishPaced(ctx, d, events, rate, func(int) string { return "tenant" })
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < events; n++ {
		if got := time.Duration(p.due[n] - p.due[n-1]); got < 499*time.Microsecond || got > 501*time.Microsecond {
			t.Errorf("event %d was due %v after the one before it", n, got)
		}
	}
}

func TestLatenciesAreFromTheReturnOfPublishAndFromWhenItWasDue(t *testing.T) {
	p := &paced{
		ids:      []string{"warm-up", "a", "b", "lost"},
		due:      []int64{0, 1e6, 2e6, 3e6},
		returned: []int64{0, 2e6, 8e6, 4e6},
	}
	arrived := map[string]int64{"warm-up": 1e9, "a": 5e6, "b": 9e6}
	fromReturn, fromDue := p.latencies(arrived, func(n int) bool { return n > 0 })
	if got, want := fmt.Sprint(fromReturn, fromDue), "[3 1] [4 7]"; got != want {
		t.Errorf("latencies %s, want %s", got, want)
	}
}

func TestTheReceiverTellsWhatCameAndWhen(t *testing.T) {
	r, err := startReceiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for round := range 2 { // the second one forgets the first
		answered, err := r.expect(2)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now().UnixNano()
		post(t, r.url+"/quick", fmt.Sprint("a", round), http.StatusNoContent)
		between := time.Now().UnixNano()
		post(t, r.url+"/quick", fmt.Sprint("b", round), http.StatusNoContent)
		post(t, r.url+"/flooded", "c", http.StatusNoContent)
		post(t, r.url+"/failing", "d", http.StatusInternalServerError)
		if err := await(t.Context(), answered); err != nil {
			t.Fatal(err)
		}
		flooded, at, err := r.arrivals()
		if err != nil || flooded != 1 || len(at) != 2 {
			t.Fatalf("%d flooded, %d quick, %v", flooded, len(at), err)
		}
		a, b := at[fmt.Sprint("a", round)], at[fmt.Sprint("b", round)]
		if a < start || a > between || b < between || b > time.Now().UnixNano() {
			t.Errorf("arrivals at %d and %d, not between %d, %d and now", a, b, start, between)
		}
	}
}

func TestTheReceiverListensOnManyAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs all of 127.0.0.0/8")
	}
	r, err := startReceiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	const addresses = 300
	urls, err := r.listen(addresses)
	if err != nil {
		t.Fatal(err)
	}
	different := make(map[netip.Addr]bool)
	for _, address := range urls {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		different[netip.MustParseAddr(u.Hostname())] = true
	}
	if len(different) != addresses {
		t.Errorf("%d addresses, want %d", len(different), addresses)
	}
	post(t, urls[addresses-1]+"/flooded", "a", http.StatusNoContent)
}

func TestNoAddressIsUsedTwice(t *testing.T) {
	const addresses = 100_000
	used := make(map[netip.AddrPort]bool, addresses)
	for n := range addresses {
		a := netip.MustParseAddrPort(loopback(n, 80))
		if used[a] || !a.Addr().IsLoopback() {
			t.Fatalf("address %d is %v", n, a)
		}
		used[a] = true
	}
}

func post(t *testing.T, url, id string, want int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(make([]byte, 10)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Webhook-Id", id)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != want {
		t.Errorf("POST %s: %s", url, res.Status)
	}
}
