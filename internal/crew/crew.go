// Package crew runs jobs on goroutines that it keeps for the next job, and
// collects the finished ones for their one employer.
package crew

import "sync"

// Crew works on jobs. New creates it. Work is called by many goroutines; the
// methods belong to one.
type Crew[J any] struct {
	work    func(J)
	jobs    chan J
	workers sync.WaitGroup
	freed   chan struct{}

	mu    sync.Mutex
	idle  int
	done  []J
	spare []J // the last result of Done, to be reused
	alarm int // how many done jobs ring freed
}

// New returns a crew for at most size jobs at a time.
func New[J any](size int, work func(J)) *Crew[J] {
	return &Crew[J]{work: work, jobs: make(chan J, size), freed: make(chan struct{}, 1)}
}

// Start has the job worked on at once.
func (c *Crew[J]) Start(j J) {
	c.mu.Lock()
	hire := c.idle == 0
	if !hire {
		c.idle--
	}
	c.mu.Unlock()
	if hire {
		c.workers.Go(func() { c.run(j) })
	} else {
		c.jobs <- j
	}
}

// Done returns the jobs that were finished since its last call. The slice is
// valid until the next one.
func (c *Crew[J]) Done() []J {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.spare)
	done := c.done
	c.done, c.spare = c.spare[:0], done
	return done
}

// Freed returns a channel that receives when n jobs are waiting for Done; also
// when they are already.
func (c *Crew[J]) Freed(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.freed:
	default:
	}
	c.alarm = n
	if len(c.done) >= n {
		c.freed <- struct{}{}
	}
	return c.freed
}

// Close returns when all jobs are finished. Start must not be called any more.
func (c *Crew[J]) Close() {
	close(c.jobs)
	c.workers.Wait()
}

func (c *Crew[J]) run(j J) {
	for ok := true; ok; j, ok = <-c.jobs {
		c.work(j)
		c.mu.Lock()
		c.idle++
		c.done = append(c.done, j)
		if len(c.done) == c.alarm {
			select {
			case c.freed <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
	}
}
