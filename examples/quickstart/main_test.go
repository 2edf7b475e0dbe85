package main

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/outhook/webhook/examples/internal/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuickstartDeliversEverythingAndPrintsTheAttempts(t *testing.T) {
	check.Runs(t, run,
		"document.sent     archive: every event              delivered   1          200\n",
		"document.signed   archive: every event              delivered   1          200\n",
		"document.signed   crm: signatures, fails twice      delivered   3          200\n",
		"invoice.paid      archive: every event              delivered   1          200\n",
		"invoice.paid      ledger: invoices, own signature   delivered   1          200\n",
	)
}
