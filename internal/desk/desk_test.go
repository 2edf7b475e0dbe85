package desk

import (
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNothingIsPromisedBeforeTheDeskIsOpen(t *testing.T) {
	d := New[int](10, 8)
	if n := d.Promise(1, 4); n != 0 {
		t.Errorf("a desk that is not open promised %d", n)
	}
	d.Set(0, 0, true)
	if n := d.Promise(1, 4); n != 1 {
		t.Errorf("an open desk promised %d, want 1", n)
	}
	d.Set(0, 0, false)
	if n := d.Promise(1, 4); n != 0 {
		t.Errorf("a desk that is not open any more promised %d", n)
	}
}

func TestPromisesKeepWithinThePlaces(t *testing.T) {
	for _, c := range []struct{ used, waiting, n, most, want int }{
		{0, 0, 1, 8, 4}, {0, 0, 1, 2, 2}, {0, 0, 2, 8, 2}, {0, 0, 100, 8, 1}, {0, 0, 257, 8, 0},
		{191, 0, 1, 8, 1}, {192, 0, 1, 8, 0}, {191, 0, 65, 8, 1}, {191, 0, 66, 8, 0},
		{128, 64, 1, 8, 1}, {128, 127, 1, 8, 1}, {128, 128, 1, 8, 0}, // what waits is not in use, but needs its place
	} {
		d := New[int](256, 192)
		d.Set(c.used, c.waiting, true)
		if got := d.Promise(c.n, c.most); got != c.want {
			t.Errorf("with %d in use and %d waiting, %d were promised %d each, want %d", c.used, c.waiting, c.n, got, c.want)
		}
	}
}

func TestAPromiseCountsUntilItIsRedeemed(t *testing.T) {
	d := New[int](3, 3)
	d.Set(0, 0, true)
	for range 3 {
		if d.Promise(1, 1) != 1 {
			t.Fatal("a free place was not promised")
		}
	}
	if d.Promise(1, 1) != 0 {
		t.Fatal("a fourth of three places was promised")
	}
	d.HandOver(1, nil) // nothing came of it
	if d.Promise(1, 1) != 1 {
		t.Fatal("the place of a promise that came to nothing was not promised again")
	}
	if d.Pending() != 3 {
		t.Fatalf("%d places are pending, want the 3 that are promised", d.Pending())
	}
	d.HandOver(1, []int{7}) // this takes it
	if d.Pending() != 3 {
		t.Fatalf("%d places are pending, want 2 that are promised and one for what is to be taken", d.Pending())
	}
	if d.Promise(1, 1) != 0 {
		t.Fatal("the place of what was handed over was promised")
	}
	if got := d.Take(); !slices.Equal(got, []int{7}) {
		t.Fatalf("taken was %v, want 7", got)
	}
	if d.Pending() != 2 {
		t.Fatalf("%d places are pending, want the 2 that are promised", d.Pending())
	}
	if d.Promise(1, 1) != 0 {
		t.Fatal("the place of what was taken was promised before Set said that it is free")
	}
	d.Set(0, 0, true)
	if d.Promise(1, 1) != 1 {
		t.Fatal("a free place was not promised")
	}
}

func TestReadyReceivesWhenThereIsSomethingToTake(t *testing.T) {
	d := New[int](100, 100)
	d.Set(0, 0, true)
	var makers sync.WaitGroup
	for n := range 50 {
		makers.Go(func() { d.HandOver(d.Promise(1, 1), []int{n}) })
	}
	var got []int
	for len(got) < 50 {
		<-d.Ready()
		got = append(got, d.Take()...)
	}
	makers.Wait()
	slices.Sort(got)
	for n := range got {
		if got[n] != n {
			t.Fatalf("taken was %v, want 0 to 49", got)
		}
	}
}

func TestAClosedDeskTakesNothing(t *testing.T) {
	d := New[int](10, 10)
	d.Set(0, 0, true)
	d.Promise(1, 1)
	d.HandOver(1, []int{1})
	d.Promise(1, 1)
	d.Close()
	if d.HandOver(1, []int{2}) {
		t.Error("a closed desk took something")
	}
	if !d.HandOver(0, nil) {
		t.Error("a closed desk refused nothing")
	}
	if d.Promise(1, 1) != 0 {
		t.Error("a closed desk promised a place")
	}
	if got := d.Take(); !slices.Equal(got, []int{1}) {
		t.Errorf("taken was %v, want what came before", got)
	}
}
