package crew

import (
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJobsRunAtOnceAndAreCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		running := make(chan int, 100)
		c := New(100, func(n int) { running <- n; <-hold })
		for n := range 100 {
			c.Start(n)
		}
		synctest.Wait()
		if len(running) != 100 {
			t.Errorf("%d jobs run, want 100", len(running))
		}
		if done := c.Done(); len(done) != 0 {
			t.Errorf("done before the end: %v", done)
		}
		close(hold)
		synctest.Wait()
		seen := make(map[int]bool)
		for _, n := range c.Done() {
			seen[n] = true
		}
		if len(seen) != 100 || len(c.Done()) != 0 {
			t.Errorf("%d jobs were collected, want each of 100 once", len(seen))
		}
		c.Close()
	})
}

func TestGoroutinesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(8, func(int) {})
		for n := range 50 {
			c.Start(n)
			synctest.Wait()
		}
		if c.idle != 1 {
			t.Errorf("%d goroutines after jobs one by one, want 1", c.idle)
		}
		c.Close()
	})
}

func TestFreedRingsWhenEnoughAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := make(chan struct{})
		c := New(8, func(int) { <-step })
		for n := range 4 {
			c.Start(n)
		}
		freed := c.Freed(3)
		for want := range 3 {
			if len(freed) != 0 {
				t.Errorf("rang after %d", want)
			}
			step <- struct{}{}
			synctest.Wait()
		}
		if len(freed) != 1 {
			t.Error("did not ring after 3")
		}
		if len(c.Freed(2)) != 1 {
			t.Error("did not ring although 3 are done already")
		}
		c.Done()
		if len(c.Freed(1)) != 0 {
			t.Error("rang for jobs that were collected")
		}
		close(step)
		c.Close()
	})
}

func TestCloseWaitsForEveryJob(t *testing.T) {
	c := New(8, func(int) {})
	total := 0
	for n := range 8 {
		c.Start(n)
	}
	c.Close()
	if total += len(c.Done()); total != 8 {
		t.Errorf("%d jobs were finished, want 8", total)
	}
}
