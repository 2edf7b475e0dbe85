// Command benchmarks measures Outhook side by side with what it is compared to,
// all in one run and in turns, so that whatever else the machine does falls on
// both sides alike. It prints medians with their bounds and exits with status 1
// if a bound is missed.
//
//	go run ./internal/benchmarks [-full] [-only NAME,…] [-o BENCHMARKS.md] [-cpuprofile FILE] [sizes]
//
// The sizes have flags of their own, see -help; without them they are such that it
// is quick, and -full sets those that the bounds are meant for. -o writes what was
// measured, where and how to a file.
//
// The scenarios are
//
//	delivery   in memory, beside a loop over net/http that posts the same
//	isolation  a quick endpoint beside a stuck one that has a backlog
//	memory     what a pending delivery takes in memory
//	durable    SQLite and PostgreSQL, beside that loop and a worker of River
//	group      64 goroutines that publish, beside one that commits per event
//	idle       what an idle Dispatcher asks of its database, and how soon it wakes
//	mix        healthy endpoints beside slow, failing and hanging ones
//	flood      single events beside a million of another tenant's and more
//	wide       endpoints on 10,000 addresses
//	soak       full load for a while: whether memory and goroutines stay flat
//	portal     each page of the portal, on PostgreSQL with a long log
//	size       PostgreSQL with 11 million deliveries, beside an empty one
//
// The last one takes a quarter of an hour and runs only when it is named. The
// receiver of the requests is a process of its own, the same program started
// again. PostgreSQL is started from the binaries that are installed, with its
// default settings; where there are none, what needs it is skipped. The command
// needs a Unix system.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	if isReceiver() {
		receive()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	met, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
	}
	if err != nil || !met {
		stop()
		os.Exit(1)
	}
}

// size says how much is measured.
type size struct {
	rounds     int
	deliveries int           // in a round
	queued     int           // for the stuck endpoint of the isolation scenario, in memory
	stuck      int           // and in a database
	backlog    int           // deliveries in a round of the durable scenario
	publishing time.Duration // in a round of the group scenario
	idling     time.Duration // in a round of the idle scenario
	woken      int           // events there that a waker tells of
	pending    [2]int        // in the store of the memory scenario
	endpoints  int           // there and in the size scenario
	finished   int           // deliveries in the size scenario
	waiting    int           // and pending
	churn      time.Duration // there
	mixed      int           // endpoints in the mix scenario
	samples    int           // of healthy endpoints in a run of the mix scenario
	mixing     time.Duration // that such a run takes at least
	flood      int           // events in the flood scenario, before it is kept up
	flooding   time.Duration // for which single events are published beside them
	wide       int           // endpoints in the wide scenario
	soaking    time.Duration // in the soak scenario
	logged     int           // deliveries in the portal scenario
	stores     []string      // in the durable, mix, flood, wide and soak scenarios; none: all
	cpuProfile string
}

// idling is the time from one count of the running Dispatchers to the next, so that
// each round has one.
const idling = 10 * time.Second

// fullSizes are the values of flags that -full sets, unless they are given.
var fullSizes = map[string]string{"samples": "20000", "mixing": "10s", "flood": "1000000", "flooding": "1m", "wide": "10000", "soaking": "10m", "logged": "1000000"}

// run measures what the arguments ask for, prints it, and reports whether every
// bound was met.
func run(ctx context.Context, args []string, out io.Writer) (met bool, err error) {
	s := size{mixed: 1000, queued: 1000, stuck: 100_000, publishing: 2 * time.Second, idling: idling, woken: 300, pending: [2]int{100_000, 1_000_000}, endpoints: 10_000}
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	flags.IntVar(&s.rounds, "rounds", 5, "rounds of each contender")
	flags.IntVar(&s.deliveries, "deliveries", 20_000, "deliveries in a round")
	flags.IntVar(&s.backlog, "backlog", 50_000, "deliveries in a round of the durable scenario")
	flags.IntVar(&s.finished, "finished", 10_000_000, "finished deliveries in the size scenario")
	flags.IntVar(&s.waiting, "pending", 1_000_000, "pending deliveries in the size scenario")
	flags.DurationVar(&s.churn, "churn", time.Minute, "how long deliveries are turned over in the size scenario")
	flags.IntVar(&s.samples, "samples", 2000, "samples in a run of the mix scenario")
	flags.DurationVar(&s.mixing, "mixing", 0, "how long such a run takes at least")
	flags.IntVar(&s.flood, "flood", 100_000, "events in the flood scenario, before it is kept up")
	flags.DurationVar(&s.flooding, "flooding", 5*time.Second, "how long single events are published beside them")
	flags.IntVar(&s.wide, "wide", 1000, "endpoints in the wide scenario")
	flags.DurationVar(&s.soaking, "soaking", 30*time.Second, "how long the soak scenario lasts with each store")
	flags.IntVar(&s.logged, "logged", 100_000, "deliveries in the log of the portal scenario")
	flags.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile of Outhook in the delivery scenario to `file`, those of the durable, mix and flood ones beside it")
	only := flags.String("only", "", "comma-separated `names` of the scenarios to run")
	stores := flags.String("stores", "", "comma-separated `names` of the stores in the durable, mix, flood, wide and soak scenarios: memory, SQLite, PostgreSQL")
	report := flags.String("o", "", "write the figures in Markdown to `file`; what it says of other scenarios stays")
	full := flags.Bool("full", false, "set the sizes that the bounds are meant for")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	command := commandOf(flags)
	if *full {
		if err := setOthers(flags, fullSizes); err != nil {
			return false, err
		}
	}
	if min(s.rounds, s.deliveries, s.backlog, s.samples, s.flood, s.wide, s.logged, int(s.soaking)) < 1 {
		return false, fmt.Errorf("-rounds, -deliveries, -backlog, -samples, -flood, -wide, -logged and -soaking must be positive")
	}
	if *stores != "" {
		s.stores = strings.Split(*stores, ",")
	}
	// The size scenario takes long.
	selected := slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return s.name == "size" })
	if *only != "" {
		names := strings.Split(*only, ",")
		selected = slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return !slices.Contains(names, s.name) })
		if len(selected) != len(names) {
			return false, fmt.Errorf("-only %s: there is no such scenario", *only)
		}
	}
	return measureAll(ctx, s, selected, out, reportTo{*report, command})
}

// setOthers sets the flags that were not given.
func setOthers(flags *flag.FlagSet, values map[string]string) error {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range values {
		if given[name] {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// measureAll runs the scenarios. What it has measured it prints and reports, even
// if it fails then.
func measureAll(ctx context.Context, s size, selected []scenario, out io.Writer, to reportTo) (met bool, err error) {
	_, _ = fmt.Fprintf(out, "%s %s/%s, GOMAXPROCS %d; %d rounds of %d deliveries, in turns\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), s.rounds, s.deliveries)
	d, err := openDatabases(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if d.server == nil {
		_, _ = fmt.Fprintln(out, "PostgreSQL is not installed: what needs it is skipped")
	}
	met = true
	for _, scenario := range selected {
		start := time.Now()
		figures, err := scenario.run(ctx, s, d)
		if err != nil {
			return false, fmt.Errorf("%s: %w", scenario.name, err)
		}
		if len(figures) == 0 {
			continue
		}
		o := outcome{scenario.name, figures, start, time.Since(start)}
		if err := printTable(out, o.scenario, figures); err != nil {
			return false, err
		}
		_, _ = fmt.Fprintf(out, "(%s took %v)\n", o.scenario, o.took.Round(time.Second))
		met = met && !slices.ContainsFunc(figures, func(f figure) bool { return !f.bound.met(f.median()) })
		if err := to.add(ctx, d, o); err != nil {
			return false, fmt.Errorf("report: %w", err)
		}
	}
	return met, nil
}

// figure is one line of the table: what was measured in each round.
type figure struct {
	name   string
	unit   string
	rounds []float64
	bound  bound
}

func (f figure) median() float64 { return median(f.rounds) }

// verdict returns the bound, and whether the median is within it; both are empty
// where there is none.
func (f figure) verdict() (limit, verdict string) {
	switch {
	case f.bound.relation == "":
		return "", ""
	case f.bound.met(f.median()):
		verdict = "pass"
	default:
		verdict = "FAIL"
	}
	return string(f.bound.relation) + " " + number(f.bound.limit), verdict
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// bound is what the median of a figure must not miss. The zero bound is none.
type bound struct {
	relation relation
	limit    float64
}

type relation string

const (
	atLeast relation = ">="
	atMost  relation = "<="
)

func (b bound) met(v float64) bool {
	switch b.relation {
	case atLeast:
		return v >= b.limit
	case atMost:
		return v <= b.limit
	}
	return true
}

func printTable(out io.Writer, title string, figures []figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "\n%s\tmedian\tmin\tmax\t\tbound\t\n", title)
	for _, f := range figures {
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s", f.name, number(f.median()), number(slices.Min(f.rounds)), number(slices.Max(f.rounds)), f.unit)
		if limit, verdict := f.verdict(); limit != "" {
			_, _ = fmt.Fprintf(w, "\t%s\t%s", limit, verdict)
		}
		_, _ = fmt.Fprintln(w)
	}
	return w.Flush()
}

// number formats v with three significant digits at least.
func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
