package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// outcome is what came of a scenario.
type outcome struct {
	scenario string
	figures  []figure
	began    time.Time
	took     time.Duration
}

// setting is where and how figures were measured. None of it names the machine.
type setting struct {
	command  string
	machine  string
	versions []string
}

// reportTo is where outcomes are reported, unless file is empty, and the command
// that they are of.
type reportTo struct{ file, command string }

// add reports one more outcome.
func (to reportTo) add(ctx context.Context, d *databases, o outcome) error {
	if to.file == "" {
		return nil
	}
	s, err := newSetting(ctx, d)
	if err != nil {
		return err
	}
	s.command = to.command
	return writeReport(to.file, s, o)
}

// newSetting returns the setting without the command.
func newSetting(ctx context.Context, d *databases) (setting, error) {
	s := setting{
		machine: fmt.Sprintf("%s, %d cores (GOMAXPROCS %d), %s of memory; %s/%s, kernel %s",
			field("/proc/cpuinfo", "model name"), runtime.NumCPU(), runtime.GOMAXPROCS(0), memoryOf(field("/proc/meminfo", "MemTotal")),
			runtime.GOOS, runtime.GOARCH, kernel()),
		versions: []string{"Go " + strings.TrimPrefix(runtime.Version(), "go")},
	}
	if d.server != nil {
		v, err := postgreSQLVersion(ctx, d)
		if err != nil {
			return s, err
		}
		s.versions = append(s.versions, "PostgreSQL "+v)
	}
	v, err := sqliteVersion(ctx)
	if err != nil {
		return s, err
	}
	s.versions = append(s.versions, "SQLite "+v)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains([]string{"github.com/riverqueue/river", "github.com/jackc/pgx/v5", "github.com/ncruces/go-sqlite3"}, m.Path) {
				s.versions = append(s.versions, m.Path+" "+m.Version)
			}
		}
	}
	return s, nil
}

// commandOf returns the command that measures the same again. Flags that name
// files are left out: the one for this report is the project's own.
func commandOf(flags *flag.FlagSet) string {
	command := "go run ./internal/benchmarks"
	flags.Visit(func(f *flag.Flag) {
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		switch {
		case f.Name == "o" || f.Name == "cpuprofile":
		case ok && b.IsBoolFlag():
			command += " -" + f.Name
		default:
			command += " -" + f.Name + " " + f.Value.String()
		}
	})
	return command + " -o BENCHMARKS.md"
}

// field returns the value of the first line of a file in /proc that has the name.
func field(file, name string) string {
	content, _ := os.ReadFile(file)
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// memoryOf turns what /proc/meminfo says into whole gibibytes.
func memoryOf(kilobytes string) string {
	var n float64
	if _, err := fmt.Sscan(kilobytes, &n); err != nil {
		return kilobytes
	}
	return fmt.Sprintf("%.0f GiB", n/(1<<20))
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(release))
}

func postgreSQLVersion(ctx context.Context, d *databases) (version string, err error) {
	c, err := pgx.Connect(ctx, d.server.DSN("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	err = c.QueryRow(ctx, "SHOW server_version").Scan(&version)
	return version, err
}

func sqliteVersion(ctx context.Context) (version string, err error) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	return version, err
}

// writeReport writes the outcome to a file in Markdown. What that says of other
// scenarios stays if it was measured on the same machine with the same versions.
func writeReport(path string, s setting, o outcome) error {
	kept, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	head := headOf(s)
	sections := make(map[string]string)
	if old, ok := strings.CutPrefix(string(kept), head); ok {
		for section := range strings.SplitSeq(old, sectionMark) {
			name, _, _ := strings.Cut(section, "\n")
			sections[name] = section
		}
	}
	sections[o.scenario] = sectionOf(s, o)
	var b bytes.Buffer
	b.WriteString(head)
	for _, scenario := range scenarios {
		if section := sections[scenario.name]; section != "" {
			b.WriteString(sectionMark + section)
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// sectionMark begins a section.
const sectionMark = "\n## "

func headOf(s setting) string {
	return `# Benchmarks

Written by ` + "`go run ./internal/benchmarks -o BENCHMARKS.md`" + `; not edited by hand. Each
section is one scenario and says when and how it was measured; a run of some of
the scenarios replaces their sections and keeps the others, if machine and versions
are the same.

- Machine: ` + s.machine + `
- Versions: ` + strings.Join(s.versions, ", ") + `

What is compared runs on the same machine in turns, and in the opposite order every
other round, so that whatever else the machine does falls on both sides alike. A
figure is the median of its rounds, with the least and the greatest; one with a
bound is met if the median is within it. A quotient is that of the two sides in the
same round. The receiver of the requests is a process of its own on the same
machine, on loopback, by HTTP without TLS. Request bodies have 1,024 bytes.
PostgreSQL runs with its default settings unless a scenario says otherwise, SQLite
with synchronous=FULL and WAL.
`
}

// sectionOf returns what is said of a scenario, without the mark.
func sectionOf(s setting, o outcome) string {
	var b strings.Builder
	missed := 0
	for _, f := range o.figures {
		if !f.bound.met(f.median()) {
			missed++
		}
	}
	_, _ = fmt.Fprintf(&b, "%s\n\n%s\n\n", o.scenario, methods[o.scenario])
	_, _ = fmt.Fprintf(&b, "Measured on %s in %v, by\n\n    %s\n\n", o.began.UTC().Format(time.DateOnly), o.took.Round(time.Second), s.command)
	if missed > 0 {
		_, _ = fmt.Fprintf(&b, "**Bounds missed: %d.**\n\n", missed)
	}
	b.WriteString("| figure | median | least | greatest | rounds | unit | bound | |\n| --- | ---: | ---: | ---: | ---: | --- | --- | --- |\n")
	for _, f := range o.figures {
		limit, verdict := f.verdict()
		_, _ = fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %s | %s | %s |\n", strings.ReplaceAll(f.name, "|", `\|`),
			number(f.median()), number(slices.Min(f.rounds)), number(slices.Max(f.rounds)), len(f.rounds), f.unit, limit, verdict)
	}
	return b.String()
}
