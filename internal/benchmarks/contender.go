package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"time"
)

// contender is one side of a comparison.
type contender struct {
	name string
	// prepare makes n deliveries to the receiver at that base URL ready, all of
	// those that count to its path quick, and returns what delivers them. Only
	// that is measured. It returns when all is sent, or soon after stop has
	// ended, which it does when the receiver has answered all n.
	prepare func(ctx context.Context, url string, n int) (deliver func(stop context.Context) error, err error)
	// server returns the processor time that its database server has used so
	// far; nil if it has none.
	server func(ctx context.Context) (time.Duration, error)
}

// sample is one measurement of a contender; all but elapsed are per delivery, and
// all but server of the sender's process.
type sample struct {
	elapsed time.Duration // from the start of deliver to the receiver's last answer
	server  time.Duration // processor time of its database server, until deliver has returned
	cpu     time.Duration // likewise, as the two below
	allocs  float64
	bytes   float64
}

// roundTimeout bounds a measurement.
const roundTimeout = 5 * time.Minute

// measure has the contender deliver n requests.
func (c contender) measure(ctx context.Context, r *receiver, n int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	deliver, err := c.prepare(ctx, r.url, n)
	if err != nil {
		return sample{}, fmt.Errorf("%s: prepare: %w", c.name, err)
	}
	answered, err := r.expect(n)
	if err != nil {
		return sample{}, err
	}
	serverBefore, err := c.serverTime(ctx)
	if err != nil {
		return sample{}, err
	}
	stop, finish := context.WithCancel(ctx)
	defer finish()
	result := make(chan error, 1)
	runtime.GC()
	before := usage()
	start := time.Now()
	go func() { result <- deliver(stop) }()
	var elapsed time.Duration
	for elapsed == 0 {
		select {
		case err := <-answered:
			if err != nil {
				return sample{}, err
			}
			elapsed = time.Since(start)
		case err := <-result:
			if err != nil {
				return sample{}, fmt.Errorf("%s: deliver: %w", c.name, err)
			}
			result <- nil
			select {
			case err := <-answered:
				if err != nil {
					return sample{}, err
				}
				elapsed = time.Since(start)
			case <-time.After(roundTimeout / 10):
				return sample{}, fmt.Errorf("%s: the receiver has not had all", c.name)
			}
		case <-ctx.Done():
			return sample{}, fmt.Errorf("%s: %w", c.name, ctx.Err())
		}
	}
	finish()
	if err := <-result; err != nil {
		return sample{}, fmt.Errorf("%s: deliver: %w", c.name, err)
	}
	after := usage()
	serverAfter, err := c.serverTime(ctx)
	return sample{
		elapsed: elapsed,
		server:  (serverAfter - serverBefore) / time.Duration(n),
		cpu:     (after.cpu - before.cpu) / time.Duration(n),
		allocs:  float64(after.allocs-before.allocs) / float64(n),
		bytes:   float64(after.bytes-before.bytes) / float64(n),
	}, err
}

func (c contender) serverTime(ctx context.Context) (time.Duration, error) {
	if c.server == nil {
		return 0, nil
	}
	return c.server(ctx)
}

// measureInTurns has every contender deliver n requests in each round.
func measureInTurns(ctx context.Context, contenders []contender, rounds, n int) ([][]sample, error) {
	r, err := startReceiver(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	sides := make([]func() (sample, error), len(contenders))
	for at, c := range contenders {
		sides[at] = func() (sample, error) { return c.measure(ctx, r, n) }
	}
	return inTurns(rounds, sides)
}

// inTurns measures every side once a round, every other round in the opposite
// order, after one round that does not count.
func inTurns[T any](rounds int, sides []func() (T, error)) ([][]T, error) {
	return inWarmTurns(rounds, 1, sides)
}

// inWarmTurns is inTurns after so many rounds that do not count.
func inWarmTurns[T any](rounds, before int, sides []func() (T, error)) ([][]T, error) {
	measured := make([][]T, len(sides))
	for round := -before; round < rounds; round++ {
		for turn := range sides {
			at := turn
			if round&1 == 1 {
				at = len(sides) - 1 - turn
			}
			m, err := sides[at]()
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				measured[at] = append(measured[at], m)
			}
		}
	}
	return measured, nil
}

// each returns a value of every sample.
func each[T any](samples []T, value func(T) float64) []float64 {
	values := make([]float64, len(samples))
	for n, s := range samples {
		values[n] = value(s)
	}
	return values
}

// both combines two values of the same rounds.
func both(a, b []float64, combine func(a, b float64) float64) []float64 {
	values := make([]float64, len(a))
	for n := range a {
		values[n] = combine(a[n], b[n])
	}
	return values
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }

func seconds(s sample) float64      { return s.elapsed.Seconds() }
func microseconds(s sample) float64 { return float64(s.cpu) / 1e3 }
func serverTime(s sample) float64   { return float64(s.server) / 1e3 }
func allocs(s sample) float64       { return s.allocs }
func bytesOf(s sample) float64      { return s.bytes }

type used struct {
	cpu           time.Duration // user and system
	allocs, bytes uint64
}

// usage returns what this process has used so far.
func usage() used {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return used{cpu: cpuTime(), allocs: memory.Mallocs, bytes: memory.TotalAlloc}
}

// cpuTime returns the processor time that this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for RUSAGE_SELF
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
