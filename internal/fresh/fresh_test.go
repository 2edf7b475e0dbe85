package fresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counting fetches "1", "2" …, each good for so long.
func counting(life time.Duration) (*Value[string], *atomic.Int64) {
	var n atomic.Int64
	return New(func(context.Context) (string, time.Time, error) {
		value := fmt.Sprint(n.Add(1))
		if life == 0 {
			return value, time.Time{}, nil
		}
		return value, time.Now().Add(life), nil
	}), &n
}

func TestAValueIsReplacedBeforeItsEnd(t *testing.T) {
	for _, tt := range []struct{ life, kept time.Duration }{
		{time.Hour, 59 * time.Minute},
		{100 * time.Second, 90 * time.Second},
		{10 * 365 * 24 * time.Hour, 10*365*24*time.Hour - time.Minute},
		{0, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			v, _ := counting(tt.life)
			for _, step := range []struct {
				wait time.Duration
				want string
			}{{0, "1"}, {tt.kept - 1, "1"}, {1, "2"}, {tt.kept - 1, "2"}, {1, "3"}} {
				time.Sleep(step.wait)
				if got, err := v.Get(t.Context()); got != step.want || err != nil {
					t.Errorf("good for %v, another %v later: got %q, %v, want %q", tt.life, step.wait, got, err, step.want)
				}
			}
		})
	}
}

func TestAValueThatCameTooLateIsUsedOnce(t *testing.T) {
	v, _ := counting(-time.Second)
	for n := range 3 {
		if got, _ := v.Get(t.Context()); got != fmt.Sprint(n+1) {
			t.Errorf("got %q the %d. time", got, n+1)
		}
	}
}

func TestAValueIsFetchedOnceHoweverManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		failure := errors.New("refused")
		v := New(func(context.Context) (string, time.Time, error) {
			time.Sleep(time.Second)
			if fetches.Add(1) == 1 {
				return "", time.Time{}, failure
			}
			return "value", time.Now().Add(time.Hour), nil
		})
		for round, want := range []error{failure, nil, nil} {
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					value, err := v.Get(t.Context())
					if err != want || (err == nil) != (value == "value") {
						t.Errorf("round %d: got %q, %v, want %v", round, value, err, want)
					}
				})
			}
			wg.Wait()
		}
		if n := fetches.Load(); n != 2 {
			t.Errorf("%d fetches for 3,000 calls, want 2: one failed, one succeeded", n)
		}
	})
}

func TestWhoLeavesTakesNobodyAlong(t *testing.T) {
	const takes = 3 * time.Second
	for _, tt := range []struct {
		name          string
		first, second time.Duration // how long each waits
		ends          [2]time.Duration
		errs          [2]error
		fetches       int64
	}{
		{"the one that fetches", time.Second, time.Hour, [2]time.Duration{time.Second, time.Second + takes}, [2]error{context.DeadlineExceeded, nil}, 2},
		{"one that waits", time.Hour, time.Second, [2]time.Duration{takes, time.Second}, [2]error{nil, context.DeadlineExceeded}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fetches atomic.Int64
				v := New(func(ctx context.Context) (string, time.Time, error) {
					fetches.Add(1)
					select {
					case <-time.After(takes):
						return "value", time.Now().Add(time.Hour), nil
					case <-ctx.Done():
						return "", time.Time{}, ctx.Err()
					}
				})
				start := time.Now()
				var wg sync.WaitGroup
				for n, patience := range []time.Duration{tt.first, tt.second} {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						defer cancel()
						if _, err := v.Get(ctx); err != tt.errs[n] || time.Since(start) != tt.ends[n] {
							t.Errorf("number %d: %v after %v, want %v after %v", n, err, time.Since(start), tt.errs[n], tt.ends[n])
						}
					})
					synctest.Wait()
				}
				wg.Wait()
				if n := fetches.Load(); n != tt.fetches {
					t.Errorf("%d fetches, want %d", n, tt.fetches)
				}
			})
		})
	}
}

func TestDropForgetsThatValueOnly(t *testing.T) {
	v, _ := counting(time.Hour)
	for _, step := range []struct{ drop, want string }{{"", "1"}, {"0", "1"}, {"1", "2"}, {"1", "2"}, {"2", "3"}} {
		v.Drop(step.drop)
		if got, _ := v.Get(t.Context()); got != step.want {
			t.Errorf("having dropped %q: got %q, want %q", step.drop, got, step.want)
		}
	}
}

func TestAFetchThatPanicsHoldsNobodyUp(t *testing.T) {
	panics := true
	v := New(func(context.Context) (string, time.Time, error) {
		if panics {
			panic("once")
		}
		return "value", time.Now().Add(time.Hour), nil
	})
	func() {
		defer func() { _ = recover() }()
		_, _ = v.Get(t.Context())
	}()
	panics = false
	if got, err := v.Get(t.Context()); got != "value" || err != nil {
		t.Errorf("after a panic: %q, %v", got, err)
	}
}
