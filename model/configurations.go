package main

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// configuration is one set of bounds of a model.
type configuration struct {
	model, name, what string
	set               bounds
	flags             []string      // names that are defined
	bits              int           // the hash array has 2^bits bits; 0: whole states are stored
	limit             time.Duration // then the search stops
	small             bool          // it is for -ci
}

type bounds map[string]int

const (
	defaultLimit  = 60 * time.Second
	mutationLimit = 60 * time.Second
)

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
		"REQUESTS": 1, "READS": 1, "WRITES": 1, "END": 4, "LEASES": 2, "MAXLAG": 1, "TTL": 0,
		"TROUBLE": 1, "UNISSUED_TOO": 0,
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
	patient = configuration{
		model: "process", name: "patient", what: "2 requests, 2 changes, evictions, a neighbour",
		set:   bounds{"WRITES": 2, "EVICTIONS": 1, "NEIGHBOURS": 1, "SILENT_WRITES": 1},
		flags: []string{"PATIENT"}, limit: defaultLimit,
	}
	overlap = configuration{
		model: "process", name: "overlap", what: "3 requests, 3 reads that overlap, 2 silent changes",
		set: bounds{
			"REQUESTERS": 3, "REQUESTS": 3, "READS": 3, "WRITES": 2, "INVALIDATES": 0,
			"SILENT_WRITES": 1, "OUTLASTS": 1, "TRIES": 1, "TTL": 1,
		},
		limit: defaultLimit,
	}
	faults = configuration{
		model: "process", name: "faults",
		what: "2 requests, StatusTTL, reads that fail or outlast, a silent store, unknown serials",
		set: bounds{
			"TTL": 1, "FAILURES": 1, "CONTRADICTIONS": 1, "SILENCE": 1, "UNISSUED_TOO": 1,
			"OUTLASTS": 1, "SILENT_WRITES": 1,
		},
		limit: defaultLimit,
	}
	trusting = configuration{
		model: "process", name: "trusting", what: "3 requests, StatusTTL, 2 changes, evictions",
		set: bounds{
			"REQUESTS": 3, "TTL": 1, "WRITES": 2, "EVICTIONS": 1, "SILENT_WRITES": 1,
		},
		limit: defaultLimit,
	}
	everything = configuration{
		model: "process", name: "everything",
		what: "3 requests, 3 reads, 3 changes, and all that can happen",
		set: bounds{
			"REQUESTERS": 3, "REQUESTS": 3, "READS": 3, "WRITES": 3, "NEIGHBOURS": 1,
			"SILENT_WRITES": 1, "EVICTIONS": 1, "TTL": 1, "OUTLASTS": 1, "FAILURES": 1,
			"CONTRADICTIONS": 1, "SILENCE": 1, "UNISSUED_TOO": 1,
		},
		bits: 32, limit: 35 * time.Second,
	}
	tiny = configuration{
		model: "process", name: "two requests", what: "2 requests, StatusTTL, evictions",
		set: bounds{"TTL": 1, "EVICTIONS": 1, "SILENT_WRITES": 1}, limit: defaultLimit, small: true,
	}

	leased = configuration{
		model: "feed", name: "feed", what: "1 request, 1 change, 2 leases, no StatusTTL",
		limit: defaultLimit,
	}
	timed = configuration{
		model: "feed", name: "StatusTTL", what: "1 request, 1 change, 2 leases, StatusTTL",
		set: bounds{"TTL": 2}, limit: defaultLimit,
	}
	late = configuration{
		model: "feed", name: "requests", what: "2 requests, 2 reads, 2 changes, 2 leases",
		set: bounds{"REQUESTS": 2, "READS": 2, "WRITES": 2, "END": 5}, bits: 32,
		limit: 30 * time.Second,
	}
	brief = configuration{
		model: "feed", name: "one lease", what: "1 request, 1 change, 1 lease",
		set: bounds{"LEASES": 1, "END": 3}, limit: defaultLimit, small: true,
	}

	plain = configuration{
		model: "shared", name: "one encoding", what: "2 requests, 1 change", limit: defaultLimit,
	}
	encodings = configuration{
		model: "shared", name: "two encodings", what: "3 requests, 2 changes",
		set:  bounds{"REQUESTS": 3, "WRITES": 2, "END": 5, "ENCODINGS": 2, "VALIDITY": 3},
		bits: 32, limit: 30 * time.Second,
	}
	short = configuration{
		model: "shared", name: "one tick less", what: "2 requests, 1 change",
		set: bounds{"END": 3}, limit: defaultLimit, small: true,
	}
)

var configurations = []configuration{
	patient, overlap, faults, trusting, everything, leased, timed, late, plain, encodings,
	tiny, brief, short,
}

// mutation is a rule that is taken out: define is the name that the models test with #ifdef.
type mutation struct {
	define, invariant, what string
	of                      configuration
	cheap                   bool // it is for -ci
}

var mutations = []mutation{
	{"NOT_PASSED", "1 One after the other", "a read that another begins beside is not passed", everything, false},
	{"JOIN_EARLIER", "2 Later than the request", "the earlier read is joined", tiny, true},
	{"ENTRY_ANSWERS", "3 A read answers for itself", "the entry is answered at its end", faults, false},
	{"RESULT_OF_PRESENT_GENERATION", "3 A read answers for itself", "its look has the generation of the end", tiny, false},
	{"END_IS_NO_EVENT", "4 An end is an event", "it is none", overlap, false},
	{"LAST_EVENT_ONLY", "4 An end is an event", "only the last one counts", overlap, false},
	{"SAME_STATUS_SPOILS", "4 An end is an event", "the same status spoils", overlap, false},
	{"FORGET_IS_NO_EVENT", "5 Forgetting is an event", "it is none", tiny, false},
	{"SPOILED_IS_RECORDED", "6 Spoiled means unknown", "a spoiled read is recorded", tiny, false},
	{"SPOILED_LEAVES_ENTRY", "6 Spoiled means unknown", "the entry stays", overlap, false},
	{"UNISSUED_IS_RECORDED", "6 Spoiled means unknown", "an unknown serial is recorded", faults, false},
	{"FORGET_LEAVES_ENTRY", "7 Forget before fence", "Invalidate leaves the entry", tiny, false},
	{"NO_FENCE", "7 Forget before fence", "there is no fence", tiny, true},
	{"FENCE_BEFORE_FORGET", "7 Forget before fence", "the order", tiny, false},
	{"ENTRY_BEFORE_GENERATION", "7 Forget before fence", "a look takes the entry first", tiny, false},
	{"SENT_WITHOUT_CHECK", "Stands", "no last check", tiny, true},
	{"LEASE_END_IS_IGNORED", "8 End before lease", "the end is not checked", leased, false},
	{"LEASE_GENERATION_IS_IGNORED", "8 End before lease", "the lease's generation is not compared", leased, false},
	{"GENERATION_BEFORE_END", "8 End before lease", "the order", leased, false},
	{"LEASE_OF_THE_END", "8 End before lease", "a read has the lease of its end", leased, false},
	{"RECORD_LOWER_LEASE", "8 End before lease", "an earlier read that ends later overwrites", late, false},
	{"EVICTION_IS_AN_EVENT", "9 Evictions are no events", "they are", patient, false},
	{"ENDED_STAYS_IN_FLIGHT", "10 Nothing stays", "a read that ended is not unlinked", patient, false},
	{"TTL_IS_IGNORED", "StatusTTL", "an entry is trusted for ever", timed, false},
	{"RESYNC_BEFORE_LISTENING", "the feed", "Resync comes before the feed listens", leased, false},
	{"LEASE_FROM_RECEIPT", "the feed", "the lease counts from the receipt of a pulse", leased, false},
	{"CHANGES_ARE_IGNORED", "the feed", "Changed invalidates nothing", leased, false},
	{"FOUND_WHATEVER_ATTESTS", "signed answers", "found whatever status they attest", plain, false},
	{"STEPS_BACK", "signed answers", "an older thisUpdate follows a later one", plain, false},
	{"NO_TOMBSTONE", "signed answers", "nothing remembers what was superseded", encodings, false},
	{"THIS_UPDATE_OF_NOW", "signed answers", "thisUpdate is the time of signing", plain, false},
	{"OTHER_STATUS_IS_FETCHED", "the shared cache", "an answer with another status is accepted", plain, false},
}
