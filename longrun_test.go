package webhook

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An endpoint is dead for an hour while much falls due for it.
func TestADeadEndpointIsProbedAndThenCatchesUpAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events, outage, perSecond = 10_000, time.Hour, 50
		began := time.Now()
		receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(roundTrip)
			if time.Since(began) < outage {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		config := testConfig(receiver)
		config.Profile.Retry = Schedule(slices.Repeat([]time.Duration{5 * time.Minute}, 100)...)
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{RateLimit: perSecond})
		start(t, d)
		order := make(map[string]int, events)
		for n := range events {
			order[publish(t, d, Event{}).EventID] = n
			if n%1000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(outage + maxPause + events/perSecond*time.Second + 10*time.Minute)

		requests := receiver.all()
		back := slices.IndexFunc(requests, func(r received) bool { return r.At.Sub(began)+roundTrip >= outage })
		opened := slices.IndexFunc(requests, func(r received) bool { return r.At.Sub(began) >= minPause })
		if limit := breakerLimit + d.config.EndpointConcurrency; opened > limit {
			t.Errorf("%d requests before it was left alone, want at most %d", opened, limit)
		}
		for n := opened + 1; n < back; n++ {
			if gap := requests[n].At.Sub(requests[n-1].At); gap < minPause {
				t.Errorf("probe %d came %v after the one before", n-opened, gap)
			}
		}
		tried := make(map[string]bool)
		for _, r := range requests[:back] {
			tried[r.Header.Get("Webhook-Id")] = true
		}
		// What was never tried leaves in the order of Publish, as far as several in
		// flight can tell, at the endpoint's rate.
		last, late := -1, 0
		var caughtUp []time.Time
		for _, r := range requests[back:] {
			caughtUp = append(caughtUp, r.At)
			id := r.Header.Get("Webhook-Id")
			if tried[id] {
				continue
			}
			if order[id] < last-d.config.EndpointConcurrency {
				late++
			}
			last = max(last, order[id])
		}
		// What was in hand when the breaker opened was given back, at the end.
		if late > d.config.EndpointConcurrency {
			t.Errorf("%d events were overtaken by younger ones", late)
		}
		burst := perSecond/10 + 1
		for n := perSecond + burst; n < len(caughtUp); n++ {
			if gap := caughtUp[n].Sub(caughtUp[n-perSecond-burst]); gap < time.Second-roundTrip {
				t.Fatalf("%d requests within %v, want at most %d a second", perSecond+burst, gap, perSecond)
			}
		}
		if got := deliveries(t, d, DeliveryFilter{States: []State{StatePending, StateExhausted}}); len(got) > 0 {
			t.Errorf("%d deliveries are left or given up", len(got))
		}
		if took := caughtUp[len(caughtUp)-1].Sub(caughtUp[0]); took > events/perSecond*time.Second*11/10 {
			t.Errorf("it caught up in %v, want %v", took, events/perSecond*time.Second)
		}
	})
}

// faults are the receivers of a bad day, by host. The day begins at 0.
func faults(began time.Time) map[string]http.HandlerFunc {
	chance := func(r *http.Request) uint32 { // of the attempt, always the same
		h := fnv.New32a()
		_, _ = fmt.Fprint(h, r.Host, r.Header.Get("Webhook-Id"), time.Since(began)/time.Minute)
		return h.Sum32() % 100
	}
	hour := func() int { return int(time.Since(began) / time.Hour) }
	fail := func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }
	return map[string]http.HandlerFunc{
		"healthy": status(204),
		"flaky": func(w http.ResponseWriter, r *http.Request) {
			if chance(r) < 20 {
				fail(w)
			}
		},
		"slow": after(4 * time.Second),
		"down": func(w http.ResponseWriter, _ *http.Request) { // from 6 to 12 o'clock
			if h := hour(); h >= 6 && h < 12 {
				fail(w)
			}
		},
		"hanging": func(w http.ResponseWriter, r *http.Request) {
			if hour()%4 == 1 {
				hang(w, r)
			}
		},
		"busy": func(w http.ResponseWriter, r *http.Request) {
			if chance(r) < 10 {
				w.Header().Set("Retry-After", "90")
				w.WriteHeader(http.StatusTooManyRequests)
			}
		},
		"resetting": func(_ http.ResponseWriter, r *http.Request) {
			if chance(r) < 30 {
				panic(http.ErrAbortHandler)
			}
		},
		"dead": func(w http.ResponseWriter, _ *http.Request) {
			if hour() < 24 {
				fail(w)
			}
		},
		"gone": func(w http.ResponseWriter, _ *http.Request) {
			if hour() >= 18 {
				w.WriteHeader(http.StatusGone)
			}
		},
	}
}

// Two dispatchers share a bad day, one of which is stopped and started again
// every hour; at its end each delivery is accounted for.
func TestABadDayIsAccountedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day, every = 24 * time.Hour, time.Minute
		began := time.Now()
		hosts := faults(began)
		var mu sync.Mutex
		received := make(map[[2]string]int) // successful answers, by host and event
		receiver := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
			host := strings.TrimSuffix(r.Host, ".example")
			s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
			hosts[host](s, r)
			if s.status/100 == 2 && r.Context().Err() == nil {
				mu.Lock()
				received[[2]string{host, r.Header.Get("Webhook-Id")}]++
				mu.Unlock()
			}
		})
		config := testConfig(receiver)
		config.Profile.Timeout = 10 * time.Second
		config.Profile.Retry = Schedule(10*time.Second, time.Minute, 10*time.Minute, time.Hour, 2*time.Hour)
		store := NewMemoryStore()
		steady, restarted := newDispatcher(t, store, config), newDispatcher(t, store, config)
		start(t, steady)
		endpoints := make(map[string]Endpoint)
		for host := range hosts {
			e := Endpoint{URL: "http://" + host + ".example/", Tenant: host}
			if host == "slow" {
				e.RateLimit = 1
			}
			endpoints[host] = register(t, steady.View, e)
		}
		published := make(map[string][]string)
		stop := start(t, restarted)
		for n := 0; time.Since(began) < day; n++ {
			for host := range hosts {
				receipt := publish(t, steady, Event{Tenant: host, OrderingKey: "key"})
				if receipt.Deliveries == 1 {
					published[host] = append(published[host], receipt.EventID)
				}
			}
			if n%60 == 59 {
				stop()
				stop = start(t, restarted)
			}
			time.Sleep(every)
		}
		time.Sleep(12 * time.Hour) // for what is still waiting

		mu.Lock()
		defer mu.Unlock()

		for host, ids := range published {
			states := make(map[State]int)
			for f := (DeliveryFilter{EndpointID: endpoints[host].ID, Limit: 1000}); ; {
				page, err := steady.Deliveries(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range page.Items {
					states[d.State]++
					times := received[[2]string{host, d.EventID}]
					if (d.State == StateDelivered) != (times == 1) {
						t.Errorf("%s: event %s is %s and was received %d times", host, d.EventID, d.State, times)
					}
				}
				if f.Cursor = page.Next; f.Cursor == "" {
					break
				}
			}
			if total := states[StateDelivered] + states[StateExhausted] + states[StatePending]; total != len(ids) {
				t.Errorf("%s: %d deliveries of %d are accounted for: %v", host, total, len(ids), states)
			}
			e, err := steady.Endpoint(t.Context(), endpoints[host].ID)
			if err != nil {
				t.Fatal(err)
			}
			if e.Disabled != (host == "gone") {
				t.Errorf("%s is disabled: %t (%s)", host, e.Disabled, e.DisabledReason)
			}
			if states[StatePending] > 0 && !e.Disabled {
				t.Errorf("%s: %d deliveries are pending for ever", host, states[StatePending])
			}
			if limit := 2 * breakerLimit; states[StateExhausted] > limit && host != "dead" && host != "down" {
				t.Errorf("%s: %d deliveries were given up", host, states[StateExhausted])
			}
			t.Logf("%-10s %v", host, states)
		}
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
