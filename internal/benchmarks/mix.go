package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

const (
	mixTimeout = 3 * time.Second // of a request: runs are longer, so that those that hang are found out
	mixWarmUp  = 2               // events of an endpoint that are no samples
	burnDowns  = 3
	// What a Config has by default.
	defaultConcurrency         = 256
	defaultEndpointConcurrency = 16
	pacedPublishers            = 128
)

// mix compares how long events take to healthy endpoints while a tenth of all
// endpoints are not, with how long they take while all are.
func mix(ctx context.Context, s size, d *databases) ([]figure, error) {
	return ofEach(ctx, kindsOf(s, d), func(k kind, r *receiver) ([]figure, error) { return mixOf(ctx, k, s, r) })
}

// mixPath is where the nth endpoint of a mixed run is: of a hundred, one hangs,
// four fail, five are slow, and the others are healthy.
func mixPath(n int) string {
	switch n %= 100; {
	case n < 1:
		return "/hanging"
	case n < 5:
		return "/failing"
	case n < 10:
		return "/slow"
	}
	return healthyPath(n)
}

func healthyPath(int) string { return "/quick" }

func isHealthy(n int) bool { return mixPath(n) == healthyPath(n) }

// mixOf measures with one kind of store, at half of the rate that it reaches.
func mixOf(ctx context.Context, k kind, s size, r *receiver) ([]figure, error) {
	reached := make([]float64, burnDowns)
	burnDown := outhook(k, s.mixed, defaultConcurrency, defaultEndpointConcurrency)
	for n := range reached {
		sample, err := burnDown.measure(ctx, r, s.backlog)
		if err != nil {
			return nil, err
		}
		reached[n] = float64(s.backlog) / sample.elapsed.Seconds()
	}
	m := mixRun{kind: k, receiver: r, endpoints: s.mixed, rate: median(reached) / 2}
	// A tenth of the events are no samples. All endpoints get as many.
	events := max(float64(s.samples)/0.9, s.mixing.Seconds()*m.rate)
	m.events = s.mixed * (mixWarmUp + int(math.Ceil(events/float64(s.mixed))))
	runs := 0
	turns, err := inWarmTurns(s.rounds, 0, []func() (paces, error){
		func() (paces, error) { return m.measure(ctx, healthyPath, "") },
		func() (p paces, err error) {
			runs++
			profile := ""
			if s.cpuProfile != "" && runs == s.rounds {
				profile = s.cpuProfile + "-mix-" + k.name
			}
			return m.measure(ctx, mixPath, profile)
		},
	})
	if err != nil {
		return nil, err
	}
	return append([]figure{{name: k.name + ": burn-down", unit: "deliveries/s", rounds: reached}}, mixFigures(k, turns[0], turns[1])...), nil
}

func mixFigures(k kind, healthy, mixed []paces) (figures []figure) {
	p99 := func(p paces) float64 { return p.p99 }
	due99 := func(p paces) float64 { return p.due99 }
	for n, runs := range [][]paces{healthy, mixed} {
		side := k.name + ", " + []string{"all healthy", "mixed"}[n] + ": "
		figures = append(figures,
			figure{name: side + "published", unit: "events/s", rounds: each(runs, func(p paces) float64 { return p.rate })},
			figure{name: side + "p50 from Publish", unit: "ms", rounds: each(runs, func(p paces) float64 { return p.p50 })},
			figure{name: side + "p99 from Publish", unit: "ms", rounds: each(runs, p99)},
			figure{name: side + "p99 from when Publish was due", unit: "ms", rounds: each(runs, due99)},
			figure{name: side + "CPU of publisher and sender", unit: "µs/event", rounds: each(runs, func(p paces) float64 { return p.perEvent(p.sender) })},
			figure{name: side + "CPU of the receiver", unit: "µs/event", rounds: each(runs, func(p paces) float64 { return p.perEvent(p.receiver) })},
			figure{name: side + "CPU that the rest of the machine used", unit: "cores", rounds: each(runs, func(p paces) float64 { return p.others.Seconds() / p.took.Seconds() })},
		)
		if k.cpuTime != nil {
			figures = append(figures, figure{name: side + "CPU of PostgreSQL", unit: "µs/event", rounds: each(runs, func(p paces) float64 { return p.perEvent(p.server) })})
		}
	}
	of := k.name + ": mixed / all healthy, "
	return append(figures,
		figure{
			name: of + fmt.Sprintf("p99 of %.0f samples", healthy[0].samples), unit: "of its time", bound: bound{atMost, 1.3},
			rounds: both(each(mixed, p99), each(healthy, p99), ratio),
		},
		figure{name: of + "p99 from when due", unit: "of its time", rounds: both(each(mixed, due99), each(healthy, due99), ratio)},
	)
}

// paces is what a run measured, of healthy endpoints alone.
type paces struct {
	p50, p99 float64 // milliseconds from the return of Publish to the arrival
	due99    float64 // and from when Publish was to be called
	rate     float64 // events a second that were published
	samples  float64
	events   float64
	took     time.Duration
	// Processor time, server's is that of the store.
	sender, server, receiver, others time.Duration
}

// perEvent returns the microseconds of one event.
func (p paces) perEvent(d time.Duration) float64 { return float64(d.Microseconds()) / p.events }

// load is the processor time that was used so far.
type load struct {
	at                            time.Time
	sender, server, receiver, all time.Duration
}

func (l load) others() time.Duration { return l.all - l.sender - l.server - l.receiver }

func (m mixRun) load(ctx context.Context) (l load, err error) {
	l = load{at: time.Now(), sender: cpuTime(), receiver: statOf(m.receiver.process.Process.Pid).own, all: busyTime()}
	l.server, err = contender{server: m.kind.cpuTime}.serverTime(ctx)
	return l, err
}

// mixRun publishes so many events to so many endpoints at a steady rate.
type mixRun struct {
	kind      kind
	receiver  *receiver
	endpoints int
	rate      float64
	events    int
}

// measure runs into an empty store whose nth endpoint is at path(n), and writes a
// CPU profile to the file, if that has a name.
func (m mixRun) measure(ctx context.Context, path func(int) string, profile string) (p paces, err error) {
	store, err := m.kind.open(ctx)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	config := newConfig(defaultConcurrency, defaultEndpointConcurrency)
	config.Profile.Timeout = mixTimeout
	d, err := webhook.NewDispatcher(store, config)
	if err != nil {
		return p, err
	}
	quick := 0
	for n := range m.endpoints {
		if _, err := d.Register(ctx, webhook.Endpoint{URL: m.receiver.url + path(n), Tenant: m.tenant(n)}); err != nil {
			return p, err
		}
		if path(n) == healthyPath(n) {
			quick += m.events / m.endpoints
		}
	}
	if err := store.ready(ctx); err != nil {
		return p, err
	}
	answered, err := m.receiver.expect(quick)
	if err != nil {
		return p, err
	}
	runtime.GC()
	before, err := m.load(ctx)
	if err != nil {
		return p, err
	}
	var published *paced
	err = whileRunning(ctx, d, profile, func() (err error) {
		if published, err = publishPaced(ctx, d, m.events, m.rate, m.tenant); err != nil {
			return err
		}
		return await(ctx, answered)
	})
	if err != nil {
		return p, err
	}
	after, err := m.load(ctx)
	if err != nil {
		return p, err
	}
	_, arrived, err := m.receiver.arrivals()
	if err != nil {
		return p, err
	}
	fromReturn, fromDue := published.latencies(arrived, func(n int) bool { return n >= mixWarmUp*m.endpoints && isHealthy(n) })
	return paces{
		p50: percentile(fromReturn, 50), p99: percentile(fromReturn, 99), due99: percentile(fromDue, 99),
		rate: published.rate(), samples: float64(len(fromReturn)),
		sender: after.sender - before.sender, server: after.server - before.server, receiver: after.receiver - before.receiver,
		others: max(0, after.others()-before.others()), took: after.at.Sub(before.at), events: float64(m.events),
	}, nil
}

// tenant returns whose the nth endpoint and the nth event are.
func (m mixRun) tenant(n int) string { return "tenant-" + strconv.Itoa(n%m.endpoints) }

// whileRunning calls do while d runs, and writes a CPU profile of that to the
// file, if it has a name.
func whileRunning(ctx context.Context, d *webhook.Dispatcher, profile string, do func() error) error {
	return profiled(profile, func() error {
		running, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- d.Run(running) }()
		err := do()
		stop()
		return errors.Join(err, <-ended)
	})
}

// await waits until the receiver has answered all.
func await(ctx context.Context, answered <-chan error) error {
	within, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	select {
	case err := <-answered:
		return err
	case <-within.Done():
		return fmt.Errorf("the receiver has not had all: %w", within.Err())
	}
}

// paced are events that were published at a steady rate.
type paced struct {
	ids           []string
	due, returned []int64 // when Publish was to be called, when it returned; Unix nanoseconds
}

// publishPaced publishes n events, the nth for tenant(n), at that rate a second.
// One that takes long holds up none of those after it, as long as there are not
// pacedPublishers of them; and what is then late is so by its due time.
func publishPaced(ctx context.Context, d *webhook.Dispatcher, n int, rate float64, tenant func(int) string) (*paced, error) {
	p := &paced{make([]string, n), make([]int64, n), make([]int64, n)}
	event := benchmarkEvent()
	publish := func(i int) error {
		e := event
		e.Tenant = tenant(i)
		receipt, err := d.Publish(ctx, e)
		p.ids[i], p.returned[i] = receipt.EventID, time.Now().UnixNano()
		if err == nil && receipt.Deliveries != 1 {
			err = fmt.Errorf("event %s has %d deliveries", receipt.EventID, receipt.Deliveries)
		}
		return err
	}
	due := make(chan int, n)
	errs := make(chan error, pacedPublishers)
	var failed atomic.Bool
	var publishing sync.WaitGroup
	for range pacedPublishers {
		publishing.Go(func() {
			for i := range due {
				if err := publish(i); err != nil {
					failed.Store(true)
					errs <- err
					return
				}
			}
		})
	}
	start := time.Now()
	for i := 0; i < n && !failed.Load() && ctx.Err() == nil; i++ {
		at := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(at))
		p.due[i] = at.UnixNano()
		due <- i
	}
	close(due)
	publishing.Wait()
	close(errs)
	return p, errors.Join(<-errs, ctx.Err())
}

// rate returns how many events a second were published.
func (p *paced) rate() float64 {
	return float64(len(p.ids)) / time.Duration(slices.Max(p.returned)-p.due[0]).Seconds()
}

// latencies returns the milliseconds that the wanted events took to arrive, after
// Publish had returned and after it was due.
func (p *paced) latencies(arrived map[string]int64, wanted func(n int) bool) (fromReturn, fromDue []float64) {
	milliseconds := func(from, to int64) float64 { return float64(to-from) / float64(time.Millisecond) }
	for n, id := range p.ids {
		if at, ok := arrived[id]; ok && wanted(n) {
			fromReturn = append(fromReturn, milliseconds(p.returned[n], at))
			fromDue = append(fromDue, milliseconds(p.due[n], at))
		}
	}
	return fromReturn, fromDue
}

// percentile returns the least value that so many percent do not exceed.
func percentile(values []float64, percent int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*percent+99)/100-1]
}
