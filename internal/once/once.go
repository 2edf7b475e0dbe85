// Package once keeps from being told again and again what goes on for long.
package once

import (
	"sync"
	"time"
)

// Changes tells when a state begins and when it ends. It is safe for concurrent
// use; the zero value knows of nothing.
type Changes struct {
	mu sync.Mutex
	on map[string]bool
}

// Set says whether the named state goes on now, and reports whether that is new.
func (c *Changes) Set(name string, on bool) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on[name] == on {
		return false
	}
	if c.on == nil {
		c.on = make(map[string]bool)
	}
	c.on[name] = on
	return true
}

// Seldom tells of what happens often once in a while. It is safe for concurrent
// use; the zero value has told of nothing.
type Seldom struct {
	mu    sync.Mutex
	told  time.Time
	count int // since then
}

// Tell counts something that happened, and reports whether to tell of it, no
// sooner than every so often, and how often it happened since it was last told.
func (s *Seldom) Tell(now time.Time, every time.Duration) (times int, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if times = s.count; now.Sub(s.told) < every {
		return times, false
	}
	s.told, s.count = now, 0
	return times, true
}
