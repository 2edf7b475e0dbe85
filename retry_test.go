package webhook

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// timetable returns the delays that a policy answers with when each attempt
// takes no time, at most the first n.
func timetable(p RetryPolicy, n int) []time.Duration {
	var delays []time.Duration
	var elapsed time.Duration
	for attempt := 1; attempt <= n; attempt++ {
		delay, again := p.Next(Failure{Attempt: attempt, Elapsed: elapsed})
		if !again {
			break
		}
		delays = append(delays, delay)
		elapsed += delay
	}
	return delays
}

func total(delays []time.Duration) (sum time.Duration) {
	for _, d := range delays {
		sum += d
	}
	return sum
}

func TestTimetables(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for _, tt := range []struct {
		name   string
		policy RetryPolicy
		want   []time.Duration // the first 12 at most
	}{
		{"no retry", Schedule(), nil},
		{"Documenso", Schedule(m, 5*m, 30*m, 2*h), []time.Duration{m, 5 * m, 30 * m, 2 * h}},
		{"Docutray", Schedule(30*s, m, 5*m, 15*m, h), []time.Duration{30 * s, m, 5 * m, 15 * m, h}},
		{"a negative delay is 0", Schedule(-1, -h, s), []time.Duration{0, 0, s}},

		{"exponential by default", Exponential{}, []time.Duration{5 * s, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 320 * s, 640 * s, 1280 * s, 2560 * s, h, h}},
		{"exponential with all bounds", Exponential{Initial: s, Max: 10 * s, Multiplier: 3, MaxAttempts: 6}, []time.Duration{s, 3 * s, 9 * s, 10 * s, 10 * s}},
		{"exponential with a long start", Exponential{Initial: 2 * h, MaxAttempts: 4}, []time.Duration{2 * h, 2 * h, 2 * h}},
		{"exponential that stays", Exponential{Initial: m, Multiplier: 1, MaxElapsed: 3 * m}, []time.Duration{m, m, m}},
		{"exponential with one attempt", Exponential{MaxAttempts: 1}, nil},
		{"exponential with no time", Exponential{MaxElapsed: s}, nil},
		{"exponential without end", Exponential{Initial: math.MaxInt64, Max: math.MaxInt64, MaxAttempts: 3}, []time.Duration{math.MaxInt64 / 4, math.MaxInt64 / 4}},

		{"constant", BackOff(func(backoff.Clock) backoff.BackOff {
			return backoff.WithMaxRetries(backoff.NewConstantBackOff(m), 3)
		}), []time.Duration{m, m, m}},
		{"stopped", BackOff(func(backoff.Clock) backoff.BackOff { return &backoff.StopBackOff{} }), nil},
		{"negative", BackOff(func(backoff.Clock) backoff.BackOff {
			return backoff.WithMaxRetries(backoff.NewConstantBackOff(-2), 1)
		}), []time.Duration{0}},
		{"the default of package backoff ends after 15 minutes", BackOff(func(clock backoff.Clock) backoff.BackOff {
			return backoff.NewExponentialBackOff(backoff.WithClockProvider(clock), backoff.WithRandomizationFactor(0),
				backoff.WithInitialInterval(4*m), backoff.WithMaxInterval(h), backoff.WithMultiplier(2))
		}), []time.Duration{4 * m, 8 * m}},

		{"function", RetryPolicyFunc(func(f Failure) (time.Duration, bool) {
			return time.Duration(f.Attempt) * s, f.Attempt < 3
		}), []time.Duration{s, 2 * s}},
		{"no jitter", WithJitter(Schedule(s, 2*s), 0), []time.Duration{s, 2 * s}},
		{"no jitter without end", WithJitter(Schedule(math.MaxInt64), 0), []time.Duration{math.MaxInt64}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := timetable(tt.policy, 12); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if err := validatePolicy(tt.policy); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDefaultRetryIsTheTimetableOfStandardWebhooks(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	want := []time.Duration{5 * s, 5 * m, 30 * m, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h}
	policy := DefaultRetry()
	if err := validatePolicy(policy); err != nil {
		t.Error(err)
	}
	if sum := total(want); sum != 75*h+35*m+5*s {
		t.Fatalf("the specification's table ends at 75:35:05, this one at %v", sum)
	}
	for range 200 {
		got := timetable(policy, 100)
		if len(got) != len(want) {
			t.Fatalf("got %v, want %d delays", got, len(want))
		}
		for i, d := range got {
			if least, most := want[i]*9/10, want[i]*11/10; d < least || d > most {
				t.Fatalf("delay %d is %v, want %v to %v", i+1, d, least, most)
			}
		}
	}
}

// Scan Documents promises attempts for up to 48 hours.
func TestExponentialEndsWithinMaxElapsed(t *testing.T) {
	const bound = 48 * time.Hour
	for _, jitter := range []float64{0, 0.1, 1} {
		policy := Exponential{Jitter: jitter, MaxElapsed: bound}
		for range 50 {
			delays := timetable(policy, 1000)
			if sum := total(delays); sum > bound || sum < bound-2*time.Hour {
				t.Fatalf("jitter %v: the last of %d attempts starts after %v, want up to %v", jitter, len(delays)+1, sum, bound)
			}
		}
	}
}

func TestExponentialCountsTheTimeThatAttemptsTake(t *testing.T) {
	policy := Exponential{Initial: time.Minute, Multiplier: 1, MaxElapsed: time.Hour}
	for elapsed, want := range map[time.Duration]bool{
		0:                               true,
		59 * time.Minute:                true,
		59*time.Minute + 1:              false,
		time.Hour:                       false,
		math.MaxInt64 - time.Hour:       false,
		-time.Hour /* clocks differ */ : true,
	} {
		if _, again := policy.Next(Failure{Attempt: 3, Elapsed: elapsed}); again != want {
			t.Errorf("%v after the first attempt: again %t, want %t", elapsed, again, want)
		}
	}
}

func TestJitterSpreadsEvenly(t *testing.T) {
	const d = time.Hour
	for name, policy := range map[string]RetryPolicy{
		"WithJitter":  WithJitter(Schedule(d), 0.25),
		"Exponential": Exponential{Initial: d, Jitter: 0.25},
	} {
		var sum time.Duration
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		const n = 10000
		for range n {
			delay, again := policy.Next(Failure{Attempt: 1})
			if !again {
				t.Fatalf("%s: no retry", name)
			}
			sum, least, most = sum+delay, min(least, delay), max(most, delay)
		}
		if least < 45*time.Minute || most > 75*time.Minute+1 {
			t.Errorf("%s: delays from %v to %v, want them within 45m to 75m", name, least, most)
		}
		if least > 46*time.Minute || most < 74*time.Minute {
			t.Errorf("%s: %d delays from %v to %v, want them to reach 45m and 75m", name, n, least, most)
		}
		// Ten times the standard deviation of such a mean.
		if mean := sum / n; (mean - d).Abs() > time.Minute {
			t.Errorf("%s: the mean is %v, want %v", name, mean, d)
		}
	}
}

func TestJitterNeverOverflows(t *testing.T) {
	for name, policy := range map[string]RetryPolicy{
		"WithJitter":  WithJitter(Schedule(math.MaxInt64), 1),
		"Exponential": Exponential{Initial: math.MaxInt64, Max: math.MaxInt64, Jitter: 1},
	} {
		for range 1000 {
			if delay, again := policy.Next(Failure{Attempt: 1}); !again || delay <= 0 {
				t.Fatalf("%s: %v, %t", name, delay, again)
			}
		}
	}
}

// recorder is a policy that notes what is done to it.
type recorder struct {
	clock backoff.Clock
	calls []string
}

func (r *recorder) note(what string) {
	r.calls = append(r.calls, what+" "+r.clock.Now().Sub(time.Unix(0, 0)).String())
}

func (r *recorder) Reset() { r.note("reset") }

func (r *recorder) NextBackOff() time.Duration {
	r.note("next")
	return time.Duration(len(r.calls))
}

func TestBackOffReplaysAFreshPolicy(t *testing.T) {
	var made []*recorder
	policy := BackOff(func(clock backoff.Clock) backoff.BackOff {
		made = append(made, &recorder{clock: clock})
		return made[len(made)-1]
	})
	for _, tt := range []struct {
		failure Failure
		want    []string
	}{
		{Failure{Attempt: 3, Elapsed: time.Hour}, []string{"reset 0s", "next 0s", "next 0s", "next 1h0m0s"}},
		{Failure{Attempt: 1, Elapsed: time.Second}, []string{"reset 0s", "next 1s"}},
		{Failure{Attempt: 0}, []string{"reset 0s", "next 0s"}},
	} {
		delay, again := policy.Next(tt.failure)
		got := made[len(made)-1].calls
		if !slices.Equal(got, tt.want) || !again || delay != time.Duration(len(tt.want)) {
			t.Errorf("%+v: %v, %t after %q, want %q", tt.failure, delay, again, got, tt.want)
		}
	}
	if len(made) != 3 {
		t.Errorf("made %d policies, want one for each decision", len(made))
	}
}

func TestScheduleKeepsItsDelays(t *testing.T) {
	delays := []time.Duration{time.Second}
	policy := Schedule(delays...)
	delays[0] = time.Hour
	if got, _ := policy.Next(Failure{Attempt: 1}); got != time.Second {
		t.Errorf("got %v, want what was given", got)
	}
}

func TestPoliciesServeConcurrently(t *testing.T) {
	for name, policy := range map[string]RetryPolicy{
		"DefaultRetry": DefaultRetry(),
		"Exponential":  Exponential{Jitter: 0.5, MaxElapsed: 48 * time.Hour},
		"BackOff": BackOff(func(clock backoff.Clock) backoff.BackOff {
			return backoff.NewExponentialBackOff(backoff.WithClockProvider(clock))
		}),
	} {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if len(timetable(policy, 100)) == 0 {
						t.Errorf("%s: no retry", name)
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestValidatePolicyNamesTheMistake(t *testing.T) {
	for _, tt := range []struct {
		policy RetryPolicy
		want   []string // no mistake where empty
	}{
		{nil, nil},
		{RetryPolicyFunc(nil), nil},
		{Exponential{Initial: 2 * time.Hour, Max: 2 * time.Hour, Multiplier: 1, Jitter: 1}, nil},
		{Exponential{Initial: -1}, []string{"Initial -1ns"}},
		{Exponential{Initial: time.Hour, Max: time.Minute}, []string{"Max 1m0s"}},
		{Exponential{Max: time.Second}, []string{"Max 1s"}},
		{Exponential{Max: -1}, []string{"Max -1ns"}},
		{Exponential{Multiplier: 0.5}, []string{"Multiplier 0.5"}},
		{Exponential{Multiplier: math.NaN()}, []string{"Multiplier NaN"}},
		{Exponential{Multiplier: math.Inf(1)}, []string{"Multiplier +Inf"}},
		{Exponential{Jitter: 1.5}, []string{"Jitter 1.5"}},
		{Exponential{Jitter: -0.5}, []string{"Jitter -0.5"}},
		{&Exponential{Jitter: math.NaN()}, []string{"Jitter NaN"}},
		{Exponential{MaxElapsed: -time.Second, MaxAttempts: -1}, []string{"MaxElapsed -1s", "MaxAttempts -1"}},
		{WithJitter(Schedule(), 1.1), []string{"fraction 1.1"}},
		{WithJitter(Schedule(), -1), []string{"fraction -1"}},
		{WithJitter(Schedule(), math.NaN()), []string{"fraction NaN"}},
		{WithJitter(nil, 0.5), []string{"policy"}},
		{WithJitter(Exponential{Jitter: 2}, 0.5), []string{"Jitter 2"}},
		{BackOff(nil), []string{"BackOff"}},
	} {
		err := validatePolicy(tt.policy)
		if len(tt.want) == 0 {
			if err != nil {
				t.Errorf("%+v: %v", tt.policy, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", tt.policy, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want+": want ") {
				t.Errorf("%+v: %v, want it to name %s", tt.policy, err, want)
			}
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(1994, 11, 6, 8, 49, 0, 0, time.UTC)
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"0", 0},
		{"120", 2 * time.Minute},
		{" 120\t", 2 * time.Minute},
		{"0120", 2 * time.Minute},
		{"86400", 24 * time.Hour},
		{"86401", 24 * time.Hour},
		{"9223372036854775807", 24 * time.Hour},
		{"18446744073709551616", 24 * time.Hour},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 37 * time.Second}, // the three formats of RFC 9110, section 5.6.7
		{"Sunday, 06-Nov-94 08:49:37 GMT", 37 * time.Second},
		{"Sun Nov  6 08:49:37 1994", 37 * time.Second},
		{"Sun, 06 Nov 1994 08:48:59 GMT", 0},
		{"Mon, 07 Nov 1994 08:49:37 GMT", 24 * time.Hour},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour},
		{"Thu, 01 Jan 0001 00:00:00 GMT", 0},
		{"", 0},
		{"-1", 0},
		{"+1", 0},
		{"1.5", 0},
		{"1e3", 0},
		{"0x10", 0},
		{"1_000", 0},
		{"120, 240", 0},
		{"soon", 0},
		{"100000000000000000000A", 0},
		{"Sun, 06 Nov 1994 08:49:37 CET", 0},
	} {
		if got := parseRetryAfter(http.Header{"Retry-After": {tt.value}}, now); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.value, got, tt.want)
		}
	}
	if got := parseRetryAfter(nil, now); got != 0 {
		t.Errorf("no header: %v, want 0", got)
	}
}
