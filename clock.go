package ocsp

import (
	"fmt"
	"time"

	"github.com/kmsocsp/ocsp/internal/statuses"
)

// clock is the host's clock, beside the monotonic one. Neither alone counts how long a status is trusted: the host's may
// be set back, and the monotonic one stands still while the machine is suspended.
type clock struct {
	now    func() time.Time
	origin time.Time            // that moments count from, by the host's clock
	begun  time.Time            // the same instant, by time.Now
	steady func() time.Duration // the monotonic clock since then; nil: what now returns has its reading
}

func newClock(cfg *Config) *clock {
	c := &clock{now: cfg.clock()}
	c.origin, c.begun = c.now().Round(0), time.Now()
	if cfg.Now != nil {
		c.steady = func() time.Duration { return time.Since(c.begun) }
	}
	return c
}

// moment returns the present, which is now by the host's clock.
func (c *clock) moment(now time.Time) statuses.Moment {
	m := statuses.Moment{Wall: now.Round(0).Sub(c.origin)}
	if c.steady != nil {
		m.Steady = c.steady()
	} else {
		m.Steady = now.Sub(c.begun)
	}
	return m
}

// unix returns a moment as an answer gives it, in seconds since 1970.
func (c *clock) unix(m statuses.Moment) int64 { return c.origin.Add(m.Wall).Unix() }

// wall returns the least Moment.Wall of a read that began in that second.
func (c *clock) wall(unix int64) time.Duration { return time.Unix(unix, 0).Sub(c.origin) }

func ceilSecond(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// clock returns Now, or its default. A panic of the host's clock is contained like all of the host's, and names it.
func (c *Config) clock() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	now := c.Now
	return func() time.Time {
		defer func() {
			if v := recover(); v != nil {
				panic(fmt.Sprintf("Config.Now must not panic: %v", v))
			}
		}()
		return now()
	}
}
