package webhook_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/outhook/webhook"
)

// printDelays prints what a policy answers after each failed attempt.
func printDelays(policy webhook.RetryPolicy) {
	var elapsed time.Duration
	for attempt := 1; ; attempt++ {
		delay, again := policy.Next(webhook.Failure{Attempt: attempt, Elapsed: elapsed})
		if !again {
			fmt.Printf("given up after attempt %d, at %v\n", attempt, elapsed)
			return
		}
		elapsed += delay
		fmt.Printf("attempt %d after %v\n", attempt+1, delay)
	}
}

func ExampleSchedule() {
	printDelays(webhook.Schedule(time.Minute, 5*time.Minute, 30*time.Minute, 2*time.Hour))
	// Output:
	// attempt 2 after 1m0s
	// attempt 3 after 5m0s
	// attempt 4 after 30m0s
	// attempt 5 after 2h0m0s
	// given up after attempt 5, at 2h36m0s
}

func ExampleExponential() {
	printDelays(webhook.Exponential{
		Initial:    time.Minute,
		Max:        12 * time.Hour,
		Multiplier: 4,
		MaxElapsed: 48 * time.Hour,
	})
	// Output:
	// attempt 2 after 1m0s
	// attempt 3 after 4m0s
	// attempt 4 after 16m0s
	// attempt 5 after 1h4m0s
	// attempt 6 after 4h16m0s
	// attempt 7 after 12h0m0s
	// attempt 8 after 12h0m0s
	// attempt 9 after 12h0m0s
	// given up after attempt 9, at 41h41m0s
}

func ExampleBackOff() {
	printDelays(webhook.BackOff(func(clock backoff.Clock) backoff.BackOff {
		return backoff.NewExponentialBackOff(
			backoff.WithClockProvider(clock),
			backoff.WithInitialInterval(10*time.Second),
			backoff.WithMultiplier(3),
			backoff.WithMaxInterval(time.Hour),
			backoff.WithRandomizationFactor(0), // to print the same each time
			backoff.WithMaxElapsedTime(time.Hour),
		)
	}))
	// Output:
	// attempt 2 after 10s
	// attempt 3 after 30s
	// attempt 4 after 1m30s
	// attempt 5 after 4m30s
	// attempt 6 after 13m30s
	// given up after attempt 6, at 20m10s
}

// A receiver that answers 400 or 422 will not like the event better tomorrow.
func ExampleRetryPolicyFunc() {
	patient := webhook.DefaultRetry()
	policy := webhook.RetryPolicyFunc(func(f webhook.Failure) (time.Duration, bool) {
		if f.StatusCode == http.StatusBadRequest || f.StatusCode == http.StatusUnprocessableEntity {
			return 0, false
		}
		return patient.Next(f)
	})

	_, again := policy.Next(webhook.Failure{Attempt: 1, StatusCode: http.StatusUnprocessableEntity})
	fmt.Println(again)
	_, again = policy.Next(webhook.Failure{Attempt: 1, StatusCode: http.StatusServiceUnavailable})
	fmt.Println(again)
	// Output:
	// false
	// true
}
