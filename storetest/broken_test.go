package storetest

import (
	"strings"
	"testing"

	"github.com/outhook/webhook"
)

// fault is how a reference is broken, in words.
type fault string

const (
	none fault = ""

	configAsText        fault = "an endpoint's configuration is kept as text"
	createdAtMoves      fault = "every put sets CreatedAt"
	revIgnored          fault = "a put does not look at Rev"
	putInTwoSteps       fault = "a put reads and writes in two steps"
	putWritesHealth     fault = "a put writes FailingSince and NotBefore"
	enablingKeepsHealth fault = "enabling keeps FailingSince and NotBefore"
	deleteLeavesPending fault = "a deletion leaves the pending deliveries"
	cancelledSettles    fault = "a cancelled delivery can be settled"
	reinsertRevives     fault = "an insert revives what a deletion cancelled"
	scopeByPrefix       fault = "scopes match like LIKE 'acme%'"
	scopeIgnoresCase    fault = "scopes ignore case"
	scopeEmptyIsAll     fault = "the empty scope shows all"
	scopeByRange        fault = "scopes match the range from acme to acme0, but for the separator"
	totalOfPage         fault = "Total is that of the page"
	endpointsByID       fault = "endpoints are listed by ID"

	deliveryPerPattern     fault = "an endpoint gets a delivery for each pattern that matches"
	fanOutUpwards          fault = "the fan-out matches tenants by prefix"
	fanOutToDisabled       fault = "the fan-out reaches disabled endpoints"
	fanOutCached           fault = "the fan-out uses a cache of endpoints"
	unmatchedDropped       fault = "an event that nothing matches is dropped"
	fanOutLimited          fault = "the fan-out ends at 100 endpoints"
	fanOutInTwoSteps       fault = "the fan-out finds and inserts in two steps"
	originLost             fault = "every delivery has the same origin"
	resultsSorted          fault = "the results come in the order of the IDs"
	limitIgnored           fault = "a listing has no limit"
	timesInSeconds         fault = "times are kept to the second"
	idsIgnoreCase          fault = "event IDs ignore case"
	dataAsJSON             fault = "Data is re-encoded as JSON"
	duplicateFansOut       fault = "a duplicate is fanned out again"
	keyAcrossTenants       fault = "a Key is unique over all tenants"
	knownBeforeCall        fault = "a call does not see its own events"
	sumIgnored             fault = "other content under a known ID is a duplicate"
	enqueuePartial         fault = "a conflict leaves what came before it"
	enqueueInTwoSteps      fault = "the duplicate check and the insert are two steps"
	enqueueBusy            fault = "concurrent calls fail with a deadlock"
	emptyIsNil             fault = "an empty list of endpoints is taken for none"
	addressedSkipsDisabled fault = "a named endpoint that is disabled is passed over"
	missingNeverTried      fault = "Missing passes over every endpoint that was tried"
	bornUnleased           fault = "a delivery with a lease is due at once"
	handsOverUnleased      fault = "what is handed over is due at once"
	handsOverAll           fault = "more than Places are handed over"
	handsOverAlways        fault = "deliveries are handed over whatever waits"
	behindAlways           fault = "Behind counts every delivery"

	claimWithoutConfig   fault = "a claim comes without the endpoint's configuration"
	leaseUnset           fault = "a leased delivery is claimed again"
	leaseForEver         fault = "a lease never runs out"
	leaseConstant        fault = "the lease number stays"
	expiredUncounted     fault = "Expired is not counted"
	expiredKept          fault = "a settlement keeps Expired"
	maxIgnored           fault = "Max is ignored"
	perEndpointIgnored   fault = "PerEndpoint is ignored"
	roomIgnored          fault = "Room is ignored"
	roomOnlyLowers       fault = "Room cannot exceed PerEndpoint"
	maxBytesIgnored      fault = "MaxBytes is ignored"
	maxBytesStrict       fault = "a delivery larger than MaxBytes is never claimed"
	claimInTwoSteps      fault = "a claim selects and updates in two steps"
	claimsDisabled       fault = "deliveries of a disabled endpoint are claimed"
	newestFirst          fault = "the newest delivery is claimed first"
	noTurns              fault = "the oldest delivery of all comes first"
	tenantsHaveNoTurns   fault = "only endpoints take turns"
	turnsForgotten       fault = "whose turn it is ends with the claim"
	endpointsHaveNoTurns fault = "only tenants take turns"
	windowed             fault = "a claim looks at the first 900 deliveries only"
	notBeforeIgnored     fault = "NotBefore is ignored"
	probesAll            fault = "a probe does not move NotBefore"
	nextIgnoresLeases    fault = "next leaves out the ends of leases"
	nextUnknown          fault = "next is never known" // which is allowed
	orderIgnored         fault = "an ordered endpoint is like any other"
	orderedByID          fault = "events of one call are ordered by ID"
	orderedWhileLeased   fault = "an ordering key is free while its oldest waits"
	exhaustedBlocks      fault = "an exhausted delivery blocks its ordering key"
	orderedFixed         fault = "a delivery is ordered if its endpoint was when it was created"

	claimsFinished      fault = "a finished delivery is claimed"
	retryLost           fault = "a retry is never due again"
	delayIgnored        fault = "a retry is due at once"
	firstAttemptMoves   fault = "FirstAttempt is that of the last one"
	uncountedCounted    fault = "an uncounted attempt is counted"
	staleAccepted       fault = "a stale settlement is accepted"
	leaseSurvives       fault = "a settlement does not end the lease"
	expiredIsStale      fault = "a lease that ran out cannot be settled"
	unknownSettles      fault = "a settlement of an unknown delivery is not stale"
	repeatStored        fault = "a repeated settlement is carried out again"
	repeatIsStale       fault = "a repeated settlement is stale"
	startsShared        fault = "all attempts of a batch begin with its first"
	logsMixedUp         fault = "a batch logs an attempt for another delivery"
	staleEndsBatch      fault = "a stale settlement ends its batch"
	settleInTwoSteps    fault = "a settlement checks and writes in two steps"
	settleBusy          fault = "concurrent settlements fail with a deadlock"
	everyFailureIsFirst fault = "every failure sets FailingSince"
	successKeepsPause   fault = "a success keeps NotBefore"
	deliveredIsHealthy  fault = "a delivered delivery is a success, whatever Health says"
	pauseOnlyExtends    fault = "a shorter pause does not count"
	disableKeepsRev     fault = "disabling keeps Rev"
	disableAlways       fault = "IfFailingSince is ignored"
	disableAgainRev     fault = "disabling a disabled endpoint raises Rev"
	healthRaisesRev     fault = "every outcome raises Rev"
	headersSingle       fault = "a header is kept with one value"
	attemptsByStart     fault = "attempts are listed by their start"
	hostileRefused      fault = "an attempt whose text is not UTF-8 cannot be settled"

	notFoundAlien     fault = "what does not exist is an error of the driver"
	cursorUnchecked   fault = "any cursor is accepted"
	statesIgnored     fault = "States is ignored"
	toInclusive       fault = "To is inclusive"
	fromExclusive     fault = "From is exclusive"
	cursorIsOffset    fault = "a cursor is an offset"
	cursorIsTime      fault = "a cursor is a time"
	cursorSkips       fault = "a cursor skips an item"
	cursorCounts      fault = "a cursor holds the number of its item"
	cursorUnscoped    fault = "a cursor may name an item outside the scope"
	cursorWidens      fault = "a cursor of another scope widens the scope"
	cursorOfFilter    fault = "a cursor is a place among what its filter selects"
	cursorLoses       fault = "behind an item that is gone, those created with it are left out"
	finishedMove      fault = "deliveries are listed with the finished ones last"
	eventsNewestFirst fault = "events are listed newest first"
	testsListed       fault = "events of test sends are listed"
	contextIgnored    fault = "the context is ignored"
	resultsShared     fault = "results share memory with the store"
	claimsShared      fault = "the endpoint of a claim changes with the store's"
	neverWakes        fault = "nobody is woken"
	purgeLeavesEvents fault = "a purge leaves the events"
	purgePending      fault = "a purge removes what is pending"
	purgeByCreation   fault = "a purge goes by the time of creation"
	purgeUnlimited    fault = "a purge has no limit"
	purgeKeepsKeys    fault = "a purge remembers keys"
	staysPresent      fault = "a dispatcher that has ended is counted"
	presentForEver    fault = "a dispatcher is counted for ever"
	testsCounted      fault = "statistics count test sends"
	strangersCounted  fault = "statistics count what is outside the scope"
	strangersSeen     fault = "statistics say that something was left out which is outside the scope"
	lastBucketOpen    fault = "statistics count what comes after their time"
	fewCounted        fault = "statistics count some and do not say so"
)

// faults says which checks catch which fault.
func faults() map[fault][]string {
	return map[fault][]string{
		configAsText:        {"endpoint-fields"},
		createdAtMoves:      {"endpoint-times"},
		revIgnored:          {"endpoint-rev", "endpoint-rev-race"},
		putInTwoSteps:       {"endpoint-rev-race"},
		putWritesHealth:     {"put-keeps-health"},
		enablingKeepsHealth: {"enabling-clears-health"},
		deleteLeavesPending: {"delete-cancels", "delete-stale", "delete-reinsert"},
		cancelledSettles:    {"delete-stale"},
		reinsertRevives:     {"delete-reinsert"},
		scopeByPrefix:       {"endpoint-scope", "delivery-scope", "event-scope"},
		scopeIgnoresCase:    {"endpoint-scope", "delivery-scope", "event-scope"},
		scopeEmptyIsAll:     {"endpoint-scope", "delivery-scope", "event-scope", "delivery-filter"},
		scopeByRange:        {"endpoint-scope", "delivery-scope", "event-scope"},
		totalOfPage:         {"endpoint-filter", "fan-out-large"},
		endpointsByID:       {"endpoint-pages"},

		deliveryPerPattern:     {"fan-out"},
		fanOutUpwards:          {"fan-out"},
		fanOutToDisabled:       {"fan-out-disabled", "fan-out-current"},
		fanOutCached:           {"fan-out-current"},
		unmatchedDropped:       {"fan-out-nothing"},
		fanOutLimited:          {"fan-out-large"},
		fanOutInTwoSteps:       {"fan-out-race"},
		originLost:             {"new-delivery", "addressed"},
		resultsSorted:          {"enqueue-results"},
		limitIgnored:           {"enqueue-large", "endpoint-pages", "delivery-pages"},
		timesInSeconds:         {"event-fields"},
		idsIgnoreCase:          {"event-fields", "not-found"},
		dataAsJSON:             {"event-bytes"},
		duplicateFansOut:       {"duplicate-id", "fan-out-nothing"},
		keyAcrossTenants:       {"duplicate-key"},
		knownBeforeCall:        {"duplicate-in-call"},
		sumIgnored:             {"conflict"},
		enqueuePartial:         {"all-or-none"},
		enqueueInTwoSteps:      {"enqueue-race"},
		enqueueBusy:            {"enqueue-crossing"},
		emptyIsNil:             {"addressed"},
		addressedSkipsDisabled: {"addressed"},
		missingNeverTried:      {"addressed-missing"},
		bornUnleased:           {"born-leased"},
		handsOverUnleased:      {"handed-over"},
		handsOverAll:           {"handed-over-within"},
		handsOverAlways:        {"handed-over-never"},
		behindAlways:           {"behind"},

		claimWithoutConfig:   {"claim-complete"},
		leaseUnset:           {"lease-hides"},
		leaseForEver:         {"lease-expires"},
		leaseConstant:        {"lease-number", "stale-settlement"},
		expiredUncounted:     {"expired-count"},
		expiredKept:          {"expired-count"},
		maxIgnored:           {"claim-max"},
		perEndpointIgnored:   {"claim-per-endpoint"},
		roomIgnored:          {"claim-room"},
		roomOnlyLowers:       {"claim-room"},
		maxBytesIgnored:      {"claim-max-bytes"},
		maxBytesStrict:       {"claim-max-bytes"},
		claimInTwoSteps:      {"claim-disjoint"},
		claimsDisabled:       {"claim-disabled", "disable"},
		newestFirst:          {"claim-oldest"},
		noTurns:              {"endpoints-take-turns", "tenants-take-turns"},
		tenantsHaveNoTurns:   {"tenants-take-turns"},
		turnsForgotten:       {"turns-last"},
		endpointsHaveNoTurns: {"endpoints-take-turns"},
		windowed:             {"backlog-apart"},
		notBeforeIgnored:     {"not-before-hides", "backlog-apart"},
		probesAll:            {"not-before-probe"},
		nextIgnoresLeases:    {"claim-next"},
		orderIgnored:         {"ordered-oldest"},
		orderedByID:          {"ordered-oldest"},
		orderedWhileLeased:   {"ordered-waits"},
		exhaustedBlocks:      {"ordered-finish"},
		orderedFixed:         {"ordered-switch"},

		claimsFinished:      {"settle-final"},
		retryLost:           {"settle-pending"},
		delayIgnored:        {"settle-pending"},
		firstAttemptMoves:   {"settle-counted"},
		uncountedCounted:    {"settle-uncounted"},
		staleAccepted:       {"stale-settlement", "settle-batch"},
		leaseSurvives:       {"settled-lease"},
		expiredIsStale:      {"late-settlement"},
		unknownSettles:      {"unknown-settlement"},
		repeatStored:        {"repeated-settlement"},
		repeatIsStale:       {"repeated-settlement"},
		startsShared:        {"settle-many"},
		logsMixedUp:         {"settle-many"},
		staleEndsBatch:      {"settle-batch"},
		settleInTwoSteps:    {"settle-race"},
		settleBusy:          {"settle-crossing"},
		everyFailureIsFirst: {"health-failure"},
		successKeepsPause:   {"health-success", "not-before-probe"},
		deliveredIsHealthy:  {"health-unchanged"},
		pauseOnlyExtends:    {"pause"},
		disableKeepsRev:     {"disable"},
		disableAlways:       {"disable-if"},
		disableAgainRev:     {"disable-again"},
		healthRaisesRev:     {"health-rev"},
		headersSingle:       {"attempt-fields"},
		attemptsByStart:     {"attempt-order"},
		hostileRefused:      {"attempt-hostile"},

		notFoundAlien:     {"not-found"},
		cursorUnchecked:   {"bad-cursor"},
		statesIgnored:     {"delivery-filter"},
		toInclusive:       {"delivery-filter", "event-filter"},
		fromExclusive:     {"delivery-filter", "event-filter"},
		cursorIsOffset:    {"delivery-pages"},
		cursorIsTime:      {"delivery-pages-even", "fan-out-large"},
		cursorSkips:       {"endpoint-pages", "delivery-pages", "event-pages"},
		cursorCounts:      {"cursor-blind"},
		cursorUnscoped:    {"cursor-scope", "cursor-scope-purged"},
		cursorWidens:      {"cursor-scope", "cursor-scope-purged"},
		cursorOfFilter:    {"cursor-filter"},
		cursorLoses:       {"cursor-gone", "cursor-purged"},
		finishedMove:      {"cursor-settled"},
		eventsNewestFirst: {"event-pages", "event-filter"},
		testsListed:       {"test-events"},
		contextIgnored:    {"context"},
		resultsShared:     {"results-are-the-callers"},
		claimsShared:      {"results-stay"},
		neverWakes:        {"wakes"},
		staysPresent:      {"presence"},
		presentForEver:    {"presence-time"},
		purgeLeavesEvents: {"purge"},
		purgePending:      {"purge-keeps"},
		purgeByCreation:   {"purge-keeps"},
		purgeUnlimited:    {"purge-limit"},
		purgeKeepsKeys:    {"purge-forgets"},
		testsCounted:      {"statistics"},
		strangersCounted:  {"statistics"},
		strangersSeen:     {"statistics-foreign"},
		lastBucketOpen:    {"statistics"},
		fewCounted:        {"statistics-many"},
	}
}

func TestBrokenStoresAreCaughtByTheCheckOfTheirPromise(t *testing.T) {
	byName := make(map[string]check)
	for _, c := range checks() {
		byName[c.name] = c
	}
	for f, names := range faults() {
		t.Run(string(f), func(t *testing.T) {
			for _, name := range names {
				c, ok := byName[name]
				if !ok {
					t.Fatalf("there is no check %q", name)
				}
				r := try(t, c, func() webhook.Store { return newReference(f) })
				if len(r.failures) == 0 {
					t.Errorf("check %q did not notice", name)
				}
				for _, failure := range r.failures {
					if !strings.HasPrefix(failure, "broken promise: "+c.promise+": ") {
						t.Errorf("check %q failed without naming its promise: %s", name, failure)
					}
				}
			}
		})
	}
}

func TestEveryCheckCatchesABrokenStore(t *testing.T) {
	caught := make(map[string]bool)
	for _, names := range faults() {
		for _, name := range names {
			caught[name] = true
		}
	}
	for _, c := range checks() {
		if !caught[c.name] {
			t.Errorf("no broken store proves check %q", c.name)
		}
	}
}
