package webhook

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// exponentialFor48Hours is what Exponential makes of a promise of attempts for
// up to 48 hours: hourly ones, after it has doubled from 5 seconds.
func exponentialFor48Hours() []time.Duration {
	var delays []time.Duration
	var sum time.Duration
	for delay := 5 * time.Second; sum+delay <= 48*time.Hour; delay = min(2*delay, time.Hour) {
		delays = append(delays, delay)
		sum += delay
	}
	return delays
}

// failAll lets an event fail at a receiver until the dispatcher gives up, within
// most. It returns when the event was published and when the attempts arrived.
func failAll(t *testing.T, policy RetryPolicy, poll, most time.Duration) []time.Time {
	t.Helper()
	receiver := newReceiver(t, status(http.StatusInternalServerError))
	config := testConfig(receiver)
	config.Profile.Retry, config.PollInterval = policy, poll
	d := newDispatcher(t, NewMemoryStore(), config)
	start(t, d)
	register(t, d.View, Endpoint{})
	published := time.Now()
	id := publish(t, d, Event{}).EventID
	time.Sleep(most)
	if got := delivery(t, d, id); got.State != StateExhausted || got.Attempts != len(receiver.all()) {
		t.Errorf("the delivery is %s after %d attempts, %d of them received; want it exhausted", got.State, got.Attempts, len(receiver.all()))
	}
	times := []time.Time{published}
	for _, r := range receiver.all() {
		times = append(times, r.At)
	}
	return times
}

// delaysBetween returns the time from each to the next.
func delaysBetween(times []time.Time) (delays []time.Duration) {
	for n := range len(times) - 1 {
		delays = append(delays, times[n+1].Sub(times[n]))
	}
	return delays
}

func TestRetriesKeepTheTimetable(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	const poll = 0 // the default; three days are a quarter of a million polls
	standard := []time.Duration{5 * s, 5 * m, 30 * m, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h}
	for _, tt := range []struct {
		name   string
		policy RetryPolicy
		want   []time.Duration
	}{
		{"no retry", Schedule(), nil},
		{"Documenso", Schedule(m, 5*m, 30*m, 2*h), []time.Duration{m, 5 * m, 30 * m, 2 * h}},
		{"Docutray", Schedule(30*s, m, 5*m, 15*m, h), []time.Duration{30 * s, m, 5 * m, 15 * m, h}},
		{"Scan Documents", Exponential{MaxElapsed: 48 * h}, exponentialFor48Hours()},
		{"Standard Webhooks", WithJitter(Schedule(standard...), 0), standard},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := delaysBetween(failAll(t, tt.policy, poll, total(tt.want)+h))
				for n := range got {
					got[n] = got[n].Truncate(s)
				}
				if want := slices.Concat([]time.Duration{0}, tt.want); !slices.Equal(got, want) {
					t.Errorf("attempts after\n%v, want\n%v", got, want)
				}
			})
		})
	}
}

func TestRetriesKeepTheTimetableWithinItsJitter(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, tt := range []struct {
		name   string
		policy RetryPolicy
		want   []time.Duration
		jitter float64
	}{
		{"Standard Webhooks", nil /* DefaultRetry */, []time.Duration{5 * s, 5 * m, 30 * m, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h}, 0.1},
		{"Docutray", WithJitter(Schedule(30*s, m, 5*m, 15*m, h), 0.5), []time.Duration{30 * s, m, 5 * m, 15 * m, h}, 0.5},
		{"Scan Documents", Exponential{MaxElapsed: 48 * h, Jitter: 0.2}, exponentialFor48Hours(), 0.2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				times := failAll(t, tt.policy, 0, time.Duration(float64(total(tt.want))*(1+tt.jitter))+h)
				got := delaysBetween(times)[1:]
				if policy, ok := tt.policy.(Exponential); ok {
					if last := times[len(times)-1].Sub(times[1]); last > policy.MaxElapsed || last < policy.MaxElapsed-2*h {
						t.Errorf("the last of %d attempts was made after %v, want up to %v", len(got)+1, last, policy.MaxElapsed)
					}
				} else if len(got) != len(tt.want) {
					t.Errorf("%d retries, want %d", len(got), len(tt.want))
				}
				for n := range min(len(got), len(tt.want)) {
					spread := time.Duration(tt.jitter * float64(tt.want[n]))
					if least, most := tt.want[n]-spread, tt.want[n]+spread+s; got[n] < least || got[n] > most {
						t.Errorf("retry %d after %v, want %v to %v", n+1, got[n], least, most)
					}
				}
				if slices.Equal(got, tt.want) {
					t.Error("there is no jitter")
				}
			})
		})
	}
}

func TestRetryAfterIsAFloor(t *testing.T) {
	const m, h = time.Minute, time.Hour
	seconds := func(d time.Duration) func() string {
		return func() string { return strconv.Itoa(int(d / time.Second)) }
	}
	date := func(d time.Duration) func() string {
		return func() string { return time.Now().UTC().Add(d).Format(http.TimeFormat) }
	}
	for _, tt := range []struct {
		name   string
		status int
		value  func() string
		want   time.Duration // the policy's own delay is 10m
	}{
		{"429 in seconds", 429, seconds(h), h},
		{"502 in seconds", 502, seconds(h), h},
		{"503 in seconds", 503, seconds(h), h},
		{"504 in seconds", 504, seconds(h), h},
		{"429 with a date", 429, date(h), h},
		{"503 with a date", 503, date(2 * h), 2 * h},
		{"shorter than the policy's delay", 503, seconds(m), 10 * m},
		{"a date shorter than the policy's delay", 429, date(m), 10 * m},
		{"a date that is past", 429, date(-h), 10 * m},
		{"nonsense", 429, func() string { return "soon" }, 10 * m},
		{"longer than a day", 429, seconds(1000 * h), 24 * h},
		{"400", 400, seconds(h), 10 * m},
		{"500", 500, seconds(h), 10 * m},
		{"501", 501, seconds(h), 10 * m},
		{"307", 307, seconds(h), 10 * m},
		{"408", 408, date(h), 10 * m},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := true
				receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
					if first {
						w.Header().Set("Retry-After", tt.value())
						w.WriteHeader(tt.status)
					}
					first = false
				})
				config := testConfig(receiver)
				config.PollInterval = time.Minute
				config.Profile.Retry = Schedule(10 * m)
				d := newDispatcher(t, NewMemoryStore(), config)
				start(t, d)
				register(t, d.View, Endpoint{})
				publish(t, d, Event{})
				time.Sleep(25 * h)
				var times []time.Time
				for _, r := range receiver.all() {
					times = append(times, r.At)
				}
				if len(times) != 2 || times[1].Sub(times[0]).Truncate(time.Second) != tt.want {
					t.Errorf("attempts after %v, want one after %v", delaysBetween(times), tt.want)
				}
			})
		})
	}
}

// That a receiver asks to be left alone does not make more attempts of few.
func TestRetryAfterEndsWithThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		})
		config := testConfig(receiver)
		config.Profile.Retry = Schedule(time.Second)
		d := newDispatcher(t, NewMemoryStore(), config)
		start(t, d)
		register(t, d.View, Endpoint{})
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Hour)
		if got := delivery(t, d, id); got.State != StateExhausted || got.Attempts != 2 || got.LastStatus != http.StatusTooManyRequests {
			t.Errorf("the delivery is %s after %d attempts, the last one answered %d", got.State, got.Attempts, got.LastStatus)
		}
	})
}
