package batch

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatArrivesDuringAFlushIsTheNextBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches [][]int
		free := make(chan struct{})
		b := New(Options{}, func(items []int) {
			batches = append(batches, slices.Clone(items))
			<-free
		})
		add(t, b, 1)
		synctest.Wait()
		add(t, b, 2, 3, 4)
		close(free)
		b.Close()
		if got, want := fmt.Sprint(batches), "[[1] [2 3 4]]"; got != want {
			t.Errorf("batches %v, want %v", got, want)
		}
	})
}

func TestABatchIsBoundedInItemsAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			options Options
			sizes   []int
			want    string
		}{
			{Options{Items: 2, Queue: 9}, []int{1, 1, 1, 1, 1}, "[[0] [1 2] [3 4]]"},
			{Options{Bytes: 10, Queue: 9}, []int{1, 5, 5, 1, 100, 1}, "[[0] [1 2] [3] [4] [5]]"},
			{Options{Bytes: 10, Items: 1, Queue: 9}, []int{100, 100}, "[[0] [1]]"},
		} {
			var batches [][]int
			free := make(chan struct{})
			b := New(c.options, func(items []int) {
				batches = append(batches, slices.Clone(items))
				<-free
			})
			for n, size := range c.sizes {
				if err := b.Add(t.Context(), n, size); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			close(free)
			b.Close()
			if got := fmt.Sprint(batches); got != c.want {
				t.Errorf("%+v: batches %v, want %v", c.options, got, c.want)
			}
		}
	})
}

func TestTheFirstItemWaitsNoLongerThanDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		flushed := make(chan string, 9)
		b := New(Options{Delay: time.Second}, func(items []int) {
			flushed <- fmt.Sprint(items, " after ", time.Since(start))
		})
		add(t, b, 1, 2)
		if got, want := <-flushed, "[1 2] after 1s"; got != want {
			t.Errorf("flushed %s, want %s", got, want)
		}
		add(t, b, 3)
		b.Close()
		if got, want := <-flushed, "[3] after 1s"; got != want {
			t.Errorf("Close flushed %s, want %s", got, want)
		}
	})
}

func TestNothingRunsWhileThereIsNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left
		flushed := 0
		b := New(Options{}, func(items []int) { flushed += len(items) })
		for n := range 3 {
			add(t, b, n)
			synctest.Wait()
		}
		if flushed != 3 {
			t.Errorf("flushed %d items, want 3", flushed)
		}
	})
}

func TestAddWaitsWhileTheQueueIsFullUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		count := 0
		b := New(Options{Items: 1, Queue: 1}, func(items []int) { count += len(items); <-free })
		add(t, b, 1)
		synctest.Wait()
		add(t, b, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Add(ctx, 3, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Add to a full queue: %v, want %v", err, context.DeadlineExceeded)
		}
		close(free)
		b.Close()
		if count != 2 {
			t.Errorf("flushed %d items, want 2", count)
		}
	})
}

func TestEveryItemIsFlushedOnce(t *testing.T) {
	seen := make(map[int]int)
	b := New(Options{Items: 7, Bytes: 50}, func(items []int) {
		for _, i := range items {
			seen[i]++
		}
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 500 {
				if err := b.Add(context.Background(), g*500+n, n%20); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.Close()
	for n := range 4000 {
		if seen[n] != 1 {
			t.Fatalf("item %d was flushed %d times", n, seen[n])
		}
	}
}

func add(t *testing.T, b *Batcher[int], items ...int) {
	t.Helper()
	for _, i := range items {
		if err := b.Add(t.Context(), i, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABatchThatTakesLongIsFollowedByARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flushed [][]int
		b := New(Options{Rest: 5 * time.Millisecond}, func(items []int) {
			flushed = append(flushed, slices.Clone(items))
			time.Sleep(3 * time.Millisecond)
		})
		add := func(item int) {
			if err := b.Add(t.Context(), item, 0); err != nil {
				t.Fatal(err)
			}
		}
		add(1)
		time.Sleep(4 * time.Millisecond) // it rests, for 2 ms more
		add(2)
		time.Sleep(time.Millisecond)
		add(3)
		time.Sleep(20 * time.Millisecond)
		add(4) // rested for long
		b.Close()
		if want := [][]int{{1}, {2, 3}, {4}}; !reflect.DeepEqual(flushed, want) {
			t.Errorf("flushed %v, want %v", flushed, want)
		}
	})
}
