package illness

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestItBreaksOutOnceAndEndsOnce(t *testing.T) {
	i := New(3)
	now := start
	for n := range 10 {
		if out, _ := i.Fault(now); out != (n == 2) {
			t.Errorf("fault %d: breaks out: %v", n+1, out)
		}
		now = now.Add(time.Second)
	}
	if i.Well(now.Add(-2*time.Second)) || i.Wait(now) == 0 {
		t.Error("work that began before the last fault ended it")
	}
	if !i.Well(now) || i.Well(now) || i.Wait(now) != 0 {
		t.Error("work that began since did not end it, once")
	}
}

func TestFaultsAmongSuccessesAreNoIllness(t *testing.T) {
	i := New(3)
	for now := start; now.Before(start.Add(time.Hour)); now = now.Add(time.Second) {
		one, _ := i.Fault(now)
		two, _ := i.Fault(now)
		if one || two || i.Wait(now) != 0 || i.Well(now) {
			t.Fatalf("after %v: out %v, %v", now.Sub(start), one, two)
		}
	}
}

// What is ill for long is probed ever more seldom, within a bound.
func TestOneProbeAtATime(t *testing.T) {
	i := New(1)
	i.Fault(start)
	var probes []time.Time
	for now := start; now.Before(start.Add(time.Hour)); now = now.Add(100 * time.Millisecond) {
		wait := i.Wait(now)
		if wait > 0 {
			if wait > 2*maxRest {
				t.Fatalf("after %v it waits %v", now.Sub(start), wait)
			}
			continue
		}
		if i.Wait(now) == 0 {
			t.Fatalf("two probes after %v", now.Sub(start))
		}
		probes = append(probes, now)
		if _, wait := i.Fault(now); wait < minRest || wait > 2*maxRest {
			t.Fatalf("after %v a fault waits %v", now.Sub(start), wait)
		}
	}
	if len(probes) < 60 || len(probes) > 80 {
		t.Errorf("%d probes in an hour, want some 70", len(probes))
	}
	if first, last := probes[0].Sub(start), probes[len(probes)-1].Sub(probes[len(probes)-2]); first != minRest || last < maxRest || last > maxRest+time.Second {
		t.Errorf("the first probe after %v, the last after %v", first, last)
	}
}

// However much waits, little of it comes back at a time.
func TestWhatWaitsIsSpread(t *testing.T) {
	i := New(1)
	i.Fault(start)
	var latest time.Duration
	for range 100_000 {
		latest = max(latest, i.Wait(start.Add(time.Millisecond)))
	}
	if latest < maxSpread || latest > 2*maxSpread {
		t.Errorf("the last of 100,000 waits %v", latest)
	}
	probe := start.Add(2 * maxSpread)
	if i.Wait(probe) != 0 {
		t.Error("the probe waits")
	}
	if wait := i.Wait(probe); wait == 0 || wait > 2*maxRest {
		t.Errorf("after the next probe the first waits %v", wait)
	}
}

// A probe that hangs, as whoever does not answer lets it, is still the only one.
func TestAProbeThatTakesLongIsAlone(t *testing.T) {
	i := New(1)
	i.Fault(start)
	probe := start.Add(minRest)
	if i.Wait(probe) != 0 {
		t.Fatal("the probe waits")
	}
	for now := probe; now.Before(probe.Add(maxRest)); now = now.Add(time.Second) {
		if wait := i.Wait(now); wait == 0 || wait > maxRest {
			t.Fatalf("another one waits %v after %v", wait, now.Sub(probe))
		}
	}
	if i.Wait(probe.Add(maxRest)) != 0 {
		t.Error("the probe is never forgotten")
	}
}

func TestARelapseGoesOnWhereTheIllnessEnded(t *testing.T) {
	i := New(1)
	i.Fault(start)
	now := start.Add(2 * time.Minute)
	i.Fault(now)
	if !i.Well(now) || i.Wait(now) != 0 {
		t.Fatal("it does not end")
	}
	if out, wait := i.Fault(now.Add(time.Second)); !out || wait < 30*time.Second {
		t.Errorf("relapse at once: out %v, waits %v", out, wait)
	}
	later := now.Add(time.Second + memory + 1)
	i.Well(later)
	if _, wait := i.Fault(later); wait >= 2*minRest {
		t.Errorf("relapse much later: waits %v", wait)
	}
}
