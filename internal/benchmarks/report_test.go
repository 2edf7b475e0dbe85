package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAReportKeepsWhatWasMeasuredInTheSameSetting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "REPORT.md")
	report := func(machine, command, scenario string, value float64) string {
		t.Helper()
		o := outcome{scenario, []figure{{name: "speed", unit: "m/s", rounds: []float64{value + 1, value, value - 1}, bound: bound{atLeast, 100}}}, time.Unix(1_750_000_000, 0), time.Minute}
		if err := writeReport(file, setting{command, machine, []string{"Go 1"}}, o); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	check := func(text string, wants, unwanted []string) {
		t.Helper()
		for _, want := range wants {
			if strings.Count(text, want) != 1 {
				t.Errorf("the report has not %q once:\n%s", want, text)
			}
		}
		for _, u := range unwanted {
			if strings.Contains(text, u) {
				t.Errorf("the report has %q:\n%s", u, text)
			}
		}
	}
	report("small", "first", "wide", 200)
	text := report("small", "second", "delivery", 30)
	check(text, []string{
		"- Machine: small\n", "- Versions: Go 1\n", "\n## wide\n", "\n## delivery\n", "    first\n", "    second\n",
		"| speed | 200 | 199 | 201 | 3 | m/s | >= 100 | pass |", "| speed | 30.0 | 29.0 | 31.0 | 3 | m/s | >= 100 | FAIL |", "**Bounds missed: 1.**",
	}, nil)
	if strings.Count(text, "\nMeasured on 2025-06-15 in 1m0s, by\n") != 2 {
		t.Errorf("not each scenario has its date:\n%s", text)
	}
	if strings.Index(text, "## delivery") > strings.Index(text, "## wide") {
		t.Errorf("the scenarios are not in their order:\n%s", text)
	}
	again := report("small", "second", "delivery", 30)
	if again != text {
		t.Errorf("the same once more is not the same report:\n%s\n%s", text, again)
	}
	check(report("small", "third", "wide", 300), []string{"    second\n", "    third\n", "| speed | 300 |"}, []string{"    first\n", "| speed | 200 |"})
	check(report("large", "fourth", "wide", 400), []string{"- Machine: large\n", "    fourth\n"}, []string{"delivery", "third"})
}

func TestEveryScenarioSaysHowItMeasures(t *testing.T) {
	for _, s := range scenarios {
		if methods[s.name] == "" {
			t.Errorf("%s does not", s.name)
		}
	}
	if len(methods) != len(scenarios) {
		t.Errorf("%d methods of %d scenarios", len(methods), len(scenarios))
	}
}

func TestTheCommandOfAReportNamesNoFile(t *testing.T) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.String("o", "", "")
	flags.String("cpuprofile", "", "")
	flags.String("only", "", "")
	flags.Bool("full", false, "")
	samples, wide := flags.Int("samples", 1, ""), flags.Int("wide", 2, "")
	if err := flags.Parse([]string{"-o", "/home/me/REPORT.md", "-cpuprofile=/home/me/cpu", "-full", "-only", "mix,wide", "-samples", "7"}); err != nil {
		t.Fatal(err)
	}
	if got, want := commandOf(flags), "go run ./internal/benchmarks -full -only mix,wide -samples 7 -o BENCHMARKS.md"; got != want {
		t.Errorf("command %s, want %s", got, want)
	}
	if err := setOthers(flags, map[string]string{"samples": "100", "wide": "200"}); err != nil {
		t.Fatal(err)
	}
	if *samples != 7 || *wide != 200 {
		t.Errorf("-samples %d -wide %d, want the 7 that was given, and 200", *samples, *wide)
	}
}
