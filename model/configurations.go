package main

import (
	"maps"
	"slices"
	"strconv"
)

// configuration is one set of bounds of a model.
type configuration struct {
	model, name, what string
	set               bounds
	flags             []string // names that are defined
	bits              int      // the hash array has 2^bits bits; 0: whole states are stored
	small             bool     // it is for -ci
	claims            string   // if not all of the model's
}

type bounds map[string]int

// claims are what the models assert.
var claims = map[string]string{
	"process": "(a)–(d), stand-ins, progress",
	"feed":    "(e), (f)",
	"shared":  "(g)–(j)",
}

// defaults are the bounds that a configuration does not set.
var defaults = map[string]bounds{
	"process": {
		"REQUESTERS": 2, "REQUESTS": 2, "TRIES": 2, "READS": 2, "WRITES": 1, "NEIGHBOURS": 0,
		"INVALIDATES": 1, "SILENT_WRITES": 0, "EVICTIONS": 0, "TTL": 0, "OUTLASTS": 0,
		"FAILURES": 0, "CONTRADICTIONS": 0, "SILENCE": 0, "UNISSUED_TOO": 0,
	},
	"feed": {
		"REQUESTS": 2, "READS": 1, "WRITES": 1, "END": 4, "LEASES": 2, "MAXLAG": 1, "TTL": 0,
		"TROUBLE": 1, "LAG": 0, "UNISSUED_TOO": 0,
	},
	"shared": {"REQUESTS": 2, "WRITES": 1, "END": 4, "ENCODINGS": 1, "VALIDITY": 2},
}

// defines returns the -D options of a job.
func (j *job) defines() []string {
	all := maps.Clone(defaults[j.model])
	maps.Copy(all, j.set)
	var defines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		defines = append(defines, "-D"+name+"="+strconv.Itoa(all[name]))
	}
	for _, name := range j.flags {
		defines = append(defines, "-D"+name)
	}
	if j.mutation != nil {
		defines = append(defines, "-D"+j.mutation.define)
	}
	return defines
}

var (
	tiny = configuration{
		model: "process", name: "two requests", what: "2 requests, 1 change, StatusTTL, evictions",
		set: bounds{"TTL": 1, "EVICTIONS": 1, "SILENT_WRITES": 1}, small: true,
	}
	// Fences let reads overlap too, so this has none.
	patient = configuration{
		model: "process", name: "patient",
		what: "3 requests, 2 silent changes, evictions, records that cannot be used, no fence",
		set: bounds{
			"REQUESTS": 3, "WRITES": 2, "EVICTIONS": 1, "INVALIDATES": 0, "SILENT_WRITES": 1,
			"CONTRADICTIONS": 1,
		},
		flags: []string{"PATIENT"},
	}
	outlasting = configuration{
		model: "process", name: "outlasting",
		what: "3 requests, 3 reads that overlap, a silent change, no StatusTTL",
		set: bounds{
			"REQUESTERS": 3, "REQUESTS": 3, "READS": 3, "INVALIDATES": 0, "SILENT_WRITES": 1,
			"OUTLASTS": 1, "TRIES": 1,
		},
	}
	overlap = configuration{
		model: "process", name: "overlap",
		what: "4 requests, 3 reads that overlap, a silent change, StatusTTL",
		set: bounds{
			"REQUESTERS": 3, "REQUESTS": 4, "READS": 3, "INVALIDATES": 0, "SILENT_WRITES": 1,
			"OUTLASTS": 1, "TRIES": 1, "TTL": 1,
		},
	}
	faults = configuration{
		model: "process", name: "faults",
		what: "2 requests, StatusTTL, reads that fail or outlast, a silent store, unknown serials",
		set: bounds{
			"TTL": 1, "FAILURES": 1, "CONTRADICTIONS": 1, "SILENCE": 1, "UNISSUED_TOO": 1,
			"OUTLASTS": 1, "SILENT_WRITES": 1,
		},
	}
	trusting = configuration{
		model: "process", name: "trusting", what: "3 requests, 2 changes, StatusTTL, evictions",
		set: bounds{
			"REQUESTS": 3, "TTL": 1, "WRITES": 2, "EVICTIONS": 1, "SILENT_WRITES": 1,
		},
	}
	everything = configuration{
		model: "process", name: "everything",
		what: "2 requests, 1 change, a neighbour's fence, and all that can happen",
		set: bounds{
			"NEIGHBOURS": 1, "SILENT_WRITES": 1, "EVICTIONS": 1, "TTL": 1, "OUTLASTS": 1,
			"FAILURES": 1, "CONTRADICTIONS": 1, "SILENCE": 1, "UNISSUED_TOO": 1,
		},
	}

	brief = configuration{
		model: "feed", name: "one lease", what: "1 request, 1 change, 1 lease",
		set: bounds{"REQUESTS": 1, "LEASES": 1, "END": 3}, small: true,
	}
	leased = configuration{
		model: "feed", name: "two leases", what: "2 requests, 1 change, 2 leases, no StatusTTL",
		set: bounds{"END": 3},
	}
	timed = configuration{
		model: "feed", name: "StatusTTL", what: "2 requests, 1 change, 1 lease, StatusTTL",
		set: bounds{"TTL": 1, "LEASES": 1, "MAXLAG": 2},
	}
	confirmed = configuration{
		model: "feed", name: "confirmed", what: "2 requests, 2 reads, no change, 2 leases",
		set: bounds{"READS": 2, "WRITES": 0, "END": 3},
	}
	overlapped = configuration{
		model: "feed", name: "two reads", what: "2 requests, 2 reads, 1 change, 2 leases",
		set: bounds{"READS": 2, "END": 3},
	}
	changes = configuration{
		model: "feed", name: "two changes", what: "2 requests, 2 changes, 1 lease",
		set: bounds{"WRITES": 2, "LEASES": 1, "END": 3},
	}
	lagging = configuration{
		model: "feed", name: "replica",
		what: "2 requests, 1 change, StatusTTL, reads of a replica that is behind",
		set:  bounds{"TTL": 1, "LEASES": 1, "LAG": 1}, claims: "(f), later by the lag",
	}

	short = configuration{
		model: "shared", name: "one change", what: "2 requests, 1 change",
		set: bounds{"END": 3}, small: true,
	}
	plain = configuration{
		model: "shared", name: "two changes", what: "2 requests, 2 changes",
		set: bounds{"WRITES": 2, "END": 3, "VALIDITY": 4},
	}
	renewing = configuration{
		model: "shared", name: "three requests", what: "3 requests, 1 change",
		set: bounds{"REQUESTS": 3, "END": 3, "VALIDITY": 6},
	}
	encodings = configuration{
		model: "shared", name: "two encodings", what: "3 requests, 1 change, 2 encodings of CertID",
		set:  bounds{"REQUESTS": 3, "END": 3, "ENCODINGS": 2, "VALIDITY": 6},
		bits: 31,
	}
)

// configurations are those of make model. Those that take longest are first, so that no processor
// is idle at the end.
var configurations = []configuration{
	changes, everything, encodings, lagging, timed, overlap, trusting, overlapped, renewing, plain,
	leased, patient, faults, outlasting, confirmed, tiny, brief, short,
}

// mutation is a rule that is taken out: define is the name that the models test with #ifdef.
type mutation struct {
	define, invariant, what string
	of                      configuration
}

var (
	// cheap are the mutations that -ci makes.
	cheap = []string{"JOIN_EARLIER", "NO_FENCE", "SENT_WITHOUT_CHECK"}
	// stated are those that break no claim about an answer, but an assertion of the rule itself.
	stated = []string{"JOIN_FENCED", "UNISSUED_IS_RECORDED", "RECORD_LOWER_LEASE"}
)

var mutations = []mutation{
	{
		"NOT_PASSED", "1 One after the other",
		"a read that another begins beside is not passed", outlasting,
	},
	{
		"JOIN_FENCED", "1 One after the other",
		"a read from before a fence is joined", trusting,
	},
	{"JOIN_EARLIER", "2 Later than the request", "the earlier read is joined", tiny},
	{"ENTRY_ANSWERS", "3 A read answers for itself", "the entry is answered at its end", faults},
	{
		"RESULT_OF_PRESENT_GENERATION", "3 A read answers for itself",
		"its look has the generation of the end", tiny,
	},
	{"END_IS_NO_EVENT", "4 An end is an event", "it is none", overlap},
	{"LAST_EVENT_ONLY", "4 An end is an event", "only the last one counts", overlap},
	{"SAME_STATUS_SPOILS", "4 An end is an event", "the same status spoils", overlap},
	{"FORGET_IS_NO_EVENT", "5 Forgetting is an event", "it is none", tiny},
	{"SPOILED_IS_RECORDED", "6 Spoiled means unknown", "a spoiled read is recorded", tiny},
	{"SPOILED_LEAVES_ENTRY", "6 Spoiled means unknown", "the entry stays", overlap},
	{"UNISSUED_IS_RECORDED", "6 Spoiled means unknown", "an unknown serial is recorded", faults},
	{
		"CONTRADICTED_FORGETS_NOTHING", "6 Spoiled means unknown",
		"a record that cannot be used leaves the entry", patient,
	},
	{"FORGET_LEAVES_ENTRY", "7 Forget before fence", "Invalidate leaves the entry", tiny},
	{"NO_FENCE", "7 Forget before fence", "there is no fence", tiny},
	{"FENCE_BEFORE_FORGET", "7 Forget before fence", "the fence comes before, without the lock", tiny},
	{"ENTRY_BEFORE_GENERATION", "7 Forget before fence", "a look takes the entry first", tiny},
	{"SENT_WITHOUT_CHECK", "Stands", "no last check", tiny},
	{"STANDS_IN_WITHOUT_CHECK", "Stands", "no last check of a stand-in", faults},
	{"LEASE_END_IS_IGNORED", "8 End before lease", "the end is not checked", leased},
	{
		"LEASE_GENERATION_IS_IGNORED", "8 End before lease",
		"the lease's generation is not compared", leased,
	},
	{"GENERATION_BEFORE_END", "8 End before lease", "the order", leased},
	{"LEASE_OF_THE_END", "8 End before lease", "a read has the lease of its end", leased},
	{
		"RECORD_LOWER_LEASE", "8 End before lease",
		"an earlier read that ends later overwrites", confirmed,
	},
	{"EVICTION_IS_AN_EVENT", "9 Evictions are no events", "they are", patient},
	{"ENDED_STAYS_IN_FLIGHT", "10 Nothing stays", "a read that ended is not unlinked", patient},
	{"TTL_IS_IGNORED", "StatusTTL", "an entry is trusted for ever", timed},
	{"RESYNC_BEFORE_LISTENING", "the feed", "Resync comes before the feed listens", leased},
	{"LEASE_FROM_RECEIPT", "the feed", "the lease counts from the receipt of a pulse", leased},
	{"CHANGES_ARE_IGNORED", "the feed", "Changed invalidates nothing", leased},
	{"FOUND_WHATEVER_ATTESTS", "signed answers", "found whatever status they attest", plain},
	{"STEPS_BACK", "signed answers", "an older thisUpdate follows a later one", plain},
	{
		"RENEWED_BY_EARLIER", "signed answers",
		"an older answer replaces one with the same status", renewing,
	},
	{"NO_TOMBSTONE", "signed answers", "nothing remembers what was superseded", encodings},
	{"THIS_UPDATE_OF_NOW", "signed answers", "thisUpdate is the time of signing", plain},
	{
		"OTHER_STATUS_IS_FETCHED", "the shared cache",
		"an answer with another status is accepted", plain,
	},
}
